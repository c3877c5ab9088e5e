/* Names that OpenSSL gives in its newer versions only. */
#ifndef LB_TLS_NAMES_H
#define LB_TLS_NAMES_H

#include <openssl/objects.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

/* The name of a group; NULL: it has none here, and `*number` is the one of IANA. */
static inline const char *lb_tls_group_name(int nid, unsigned *number)
{
#ifdef TLSEXT_nid_unknown
    if (nid & TLSEXT_nid_unknown) {
        *number = (unsigned)nid & 0xffff;
        return NULL;
    }
#endif
    return OBJ_nid2sn(nid);
}

static inline int lb_tls_group_used(SSL *s)
{
#ifdef SSL_get_negotiated_group
    return (int)SSL_get_negotiated_group(s);
#else
    (void)s;
    return NID_undef;
#endif
}

/* Two bytes for each cipher suite that the client has offered; how many bytes. */
static inline size_t lb_tls_ciphers(SSL *s, const uint8_t **p)
{
#ifdef SSL_get0_raw_cipherlist
    long n = SSL_get0_raw_cipherlist(s, p);
    return n > 0 ? (size_t)n : 0;
#else
    (void)s, (void)p;
    return 0;
#endif
}

/* Signature schemes of RFC 8446 section 4.2.3 from what OpenSSL before 3.5 tells. */
static inline const char *lb_tls_scheme(int type, int hash)
{
    int n = hash == NID_sha256 ? 0 : hash == NID_sha384 ? 1 : hash == NID_sha512 ? 2 : -1;
    static const char *const ec[] = {"ecdsa_secp256r1_sha256", "ecdsa_secp384r1_sha384", "ecdsa_secp521r1_sha512"};
    static const char *const pss[] = {"rsa_pss_rsae_sha256", "rsa_pss_rsae_sha384", "rsa_pss_rsae_sha512"};
    static const char *const pkcs1[] = {"rsa_pkcs1_sha256", "rsa_pkcs1_sha384", "rsa_pkcs1_sha512"};
    if (type == NID_ED25519)
        return "ed25519";
    if (type == NID_ED448)
        return "ed448";
    if (n < 0)
        return NULL;
    return type == EVP_PKEY_EC ? ec[n] : type == EVP_PKEY_RSA_PSS ? pss[n] : type == EVP_PKEY_RSA ? pkcs1[n] : NULL;
}

/* What we signed with, or the peer; NULL: nothing was signed, or it has no name. */
static inline const char *lb_tls_signature(SSL *s, int peer)
{
#if !defined(OPENSSL_IS_AWSLC) && OPENSSL_VERSION_NUMBER >= 0x30500000L
    const char *name = NULL;
    int rc = peer ? SSL_get0_peer_signature_name(s, &name) : SSL_get0_signature_name(s, &name);
    return rc == 1 ? name : NULL;
#elif !defined(OPENSSL_IS_AWSLC)
    int type = NID_undef, hash = NID_undef;
    int rc = peer ? SSL_get_peer_signature_type_nid(s, &type) && SSL_get_peer_signature_nid(s, &hash)
                  : SSL_get_signature_type_nid(s, &type) && SSL_get_signature_nid(s, &hash);
    return rc ? lb_tls_scheme(type, hash) : NULL;
#else
    (void)s, (void)peer;
    return NULL;
#endif
}

#endif
