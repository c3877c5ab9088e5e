"""What a certificate says of itself, and whether its chain is whole: for warnings, the page and /metrics. With the GIL.

The process that reads the configuration asks, and the child that reads a pair anew (lb/master/certificates.py); the loop never.
"""

import calendar
import hashlib
import ipaddress

from lb.model.tls import CertificateFacts

cdef X509_STORE* tls_system_store = NULL    # what this machine trusts: files are looked up as they are asked for


cdef X509* tls_x509(bytes der) except NULL:
    cdef const uint8_t* p = <const uint8_t*> <char*> der
    cdef X509* x = d2i_X509(NULL, &p, len(der))
    if x == NULL:
        raise ValueError(tls_said("d2i_X509()"))
    return x


def tls_facts(bytes der):
    """CertificateFacts of one certificate. Raises ValueError."""
    cdef X509* x = tls_x509(der)
    cdef EVP_PKEY* key = X509_get0_pubkey(x)        # NULL: of a kind that this OpenSSL does not know
    try:
        return CertificateFacts(
            names=tls_names(x),
            subject=tls_distinguished_name(X509_get_subject_name(x)),
            issuer=tls_distinguished_name(X509_get_issuer_name(x)),
            serial=tls_serial(x),
            not_before=tls_unix_time(X509_get0_notBefore(x)),
            not_after=tls_unix_time(X509_get0_notAfter(x)),
            key_type=tls_key_type(key),
            key_bits=EVP_PKEY_bits(key) if key != NULL else 0,
            signed_with=tls_signed_with(x),
            self_signed=tls_self_signed(x),
            fingerprint=hashlib.sha256(der).hexdigest(),
        )
    finally:
        X509_free(x)
        ERR_clear_error()


cdef tuple tls_names(X509* x):
    """As clients look at them (RFC 9525): the SAN, and only where there is none the last CN."""
    cdef GENERAL_NAMES* names = <GENERAL_NAMES*> X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL)
    cdef dict found = {}
    cdef int i
    if names != NULL:
        for i in range(sk_GENERAL_NAME_num(names)):
            found[tls_general_name(sk_GENERAL_NAME_value(names, i))] = None
        GENERAL_NAMES_free(names)
        found.pop("", None)
    return tuple(found) or tls_common_name(X509_get_subject_name(x))


cdef str tls_general_name(const GENERAL_NAME* name):
    """A DNS name or an address; "" of other kinds."""
    cdef int kind = 0
    cdef ASN1_STRING* s = <ASN1_STRING*> GENERAL_NAME_get0_value(name, &kind)
    if kind != GEN_DNS and kind != GEN_IPADD or s == NULL:
        return ""
    text = (<const char*> ASN1_STRING_get0_data(s))[:ASN1_STRING_length(s)]
    if kind == GEN_DNS:
        return text.decode("ascii", "backslashreplace").lower()
    return str(ipaddress.ip_address(text)) if len(text) in (4, 16) else ""


cdef tuple tls_common_name(X509_NAME* name):
    cdef int at = -1, last = -1, n
    cdef uint8_t* p = NULL
    while True:
        at = X509_NAME_get_index_by_NID(name, NID_commonName, at)
        if at < 0:
            break
        last = at
    if last < 0:
        return ()
    n = ASN1_STRING_to_UTF8(&p, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, last)))
    if n < 0:
        return ()
    text = (<char*> p)[:n].decode("utf-8", "backslashreplace")
    OPENSSL_free(p)
    return (text.lower(),)


cdef str tls_distinguished_name(X509_NAME* name):
    """RFC 2253, as nginx's $ssl_client_s_dn."""
    cdef BIO* b = BIO_new(BIO_s_mem())
    if b == NULL:
        raise MemoryError()
    X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB)
    return tls_written(b).decode("utf-8", "backslashreplace")


cdef str tls_serial(X509* x):
    cdef BIO* b = BIO_new(BIO_s_mem())
    if b == NULL:
        raise MemoryError()
    i2a_ASN1_INTEGER(b, X509_get_serialNumber(x))
    return tls_written(b).decode("ascii", "replace").replace("\\\n", "")


cdef bytes tls_written(BIO* b):
    """All of a memory BIO, which ends here."""
    cdef char some[512]
    cdef list parts = []
    cdef int n = BIO_read(b, some, sizeof(some))
    while n > 0:
        parts.append(some[:n])
        n = BIO_read(b, some, sizeof(some))
    BIO_free(b)
    return b"".join(parts)


cdef object tls_unix_time(const ASN1_TIME* t):
    cdef tm broken
    memset(&broken, 0, sizeof(broken))
    if ASN1_TIME_to_tm(t, &broken) != 1:
        return 0
    return calendar.timegm((broken.tm_year + 1900, broken.tm_mon + 1, broken.tm_mday, broken.tm_hour, broken.tm_min,
                            broken.tm_sec))


cdef str tls_key_type(EVP_PKEY* key):
    cdef int kind = EVP_PKEY_id(key) if key != NULL else NID_undef
    if kind == EVP_PKEY_RSA or kind == EVP_PKEY_RSA_PSS:
        return "RSA"
    if kind == EVP_PKEY_EC:
        return "EC"
    return (<bytes> OBJ_nid2sn(kind)).decode() if kind != NID_undef else "unknown"


cdef str tls_signed_with(X509* x):
    """The hash; "" of signatures that have none of their own (Ed25519), or say it elsewhere (RSA-PSS)."""
    cdef int hashed = NID_undef, key = NID_undef
    if OBJ_find_sigid_algs(X509_get_signature_nid(x), &hashed, &key) != 1 or hashed == NID_undef:
        return ""
    return (<bytes> OBJ_nid2sn(hashed)).decode()


cdef bint tls_self_signed(X509* x):
    return X509_NAME_cmp(X509_get_subject_name(x), X509_get_issuer_name(x)) == 0 and X509_check_issued(x, x) == X509_V_OK


def tls_missing_issuer(chain):
    """(place in the chain, issuer, does it say where its issuer is to be had) of the certificate, from the first one on by
    issuers, whose issuer is neither in the chain nor trusted by this machine. None: the chain is whole. Raises ValueError.

    `chain`: DER of each.
    """
    cdef X509** xs = <X509**> calloc(len(chain), sizeof(X509*))
    cdef int n = 0, at = 0, found, _steps
    if xs == NULL:
        raise MemoryError()
    try:
        for der in chain:
            xs[n] = tls_x509(der)
            n += 1
        for _steps in range(n):
            if tls_self_signed(xs[at]):
                return None
            found = tls_issuer_in(xs, n, at)
            if found < 0:
                return None if tls_is_trusted_issuer(xs[at]) else (
                    at, tls_distinguished_name(X509_get_issuer_name(xs[at])),
                    X509_get_ext_by_NID(xs[at], NID_info_access, -1) >= 0)
            at = found
        return None
    finally:
        for at in range(n):
            X509_free(xs[at])
        free(xs)
        ERR_clear_error()


cdef int tls_issuer_in(X509** xs, int n, int of):
    """Its place; -1: it is not among them."""
    cdef int i
    for i in range(n):
        if i != of and X509_check_issued(xs[i], xs[of]) == X509_V_OK:
            return i
    return -1


cdef bint tls_is_trusted_issuer(X509* x) except *:
    """Does this machine trust one who can have issued it?"""
    global tls_system_store
    cdef X509_STORE_CTX* look = X509_STORE_CTX_new()
    cdef X509* issuer = NULL
    if tls_system_store == NULL:
        tls_system_store = X509_STORE_new()
        if tls_system_store != NULL:
            X509_STORE_set_default_paths(tls_system_store)
    if look == NULL or tls_system_store == NULL:
        X509_STORE_CTX_free(look)
        raise MemoryError()
    if X509_STORE_CTX_init(look, tls_system_store, x, NULL) == 1 and X509_STORE_CTX_get1_issuer(&issuer, look, x) == 1:
        X509_free(issuer)
        X509_STORE_CTX_free(look)
        return True
    X509_STORE_CTX_free(look)
    return False


def tls_security_level(str ciphers):
    """OpenSSL's, as these ciphers leave it (@SECLEVEL)."""
    cdef SSL_CTX* ctx = SSL_CTX_new(TLS_server_method())
    cdef bytes text = ciphers.encode()
    if ctx == NULL:
        raise MemoryError()
    SSL_CTX_set_cipher_list(ctx, text)
    level = SSL_CTX_get_security_level(ctx)
    SSL_CTX_free(ctx)
    ERR_clear_error()
    return level
