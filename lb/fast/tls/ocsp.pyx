"""OCSP (RFC 6960): whom to ask of a certificate, what to ask, and whether the answer is one. With the GIL, in the process
that reads the configuration and in children of the master; the loop never.

Everything raises ValueError with nginx's words.
"""

cdef enum:
    OCSP_SKEW = 300     # seconds that clocks may differ


def tls_ocsp_response(bytes der):
    """Is it one? Raises ValueError with nginx's words."""
    OCSP_RESPONSE_free(tls_ocsp_parsed(der, "d2i_OCSP_RESPONSE_bio()"))
    return der


cdef OCSP_RESPONSE* tls_ocsp_parsed(bytes der, str call) except NULL:
    cdef const uint8_t* p = <const uint8_t*> <char*> der
    ERR_clear_error()
    cdef OCSP_RESPONSE* made = d2i_OCSP_RESPONSE(NULL, &p, len(der))
    if made == NULL:
        raise ValueError(tls_said(call))
    return made


def tls_ocsp_url(bytes der):
    """Of the first responder that the certificate names; "": none."""
    cdef X509* x = tls_x509(der)
    cdef char* found = lb_tls_responder(x)
    X509_free(x)
    if found == NULL:
        return ""
    text = (<bytes> found).decode("ascii", "backslashreplace")
    OPENSSL_free(found)
    return text


def tls_ocsp_issuer(bytes der, others):
    """The first of `others` that may have issued it, as DER; None."""
    cdef X509* x = tls_x509(der)
    cdef X509* issuer
    try:
        for one in others:
            issuer = tls_x509(one)
            found = X509_check_issued(issuer, x) == X509_V_OK
            X509_free(issuer)
            if found:
                return one
        return None
    finally:
        X509_free(x)
        ERR_clear_error()


cdef OCSP_CERTID* tls_ocsp_id(bytes der, bytes issuer) except NULL:
    cdef X509* x = tls_x509(der)
    cdef X509* by = tls_x509(issuer)
    cdef OCSP_CERTID* made = OCSP_cert_to_id(NULL, x, by)
    X509_free(x)
    X509_free(by)
    if made == NULL:
        raise ValueError(tls_said("OCSP_cert_to_id()"))
    return made


def tls_ocsp_request(bytes der, bytes issuer):
    """What to ask the responder, as DER."""
    cdef OCSP_CERTID* of = tls_ocsp_id(der, issuer)
    cdef OCSP_REQUEST* request = OCSP_REQUEST_new()
    cdef uint8_t* p = NULL
    cdef int n = -1
    if request == NULL or OCSP_request_add0_id(request, of) == NULL:
        OCSP_CERTID_free(of)
    else:
        n = i2d_OCSP_REQUEST(request, &p)
    OCSP_REQUEST_free(request)
    if n < 0:
        raise ValueError(tls_said("i2d_OCSP_REQUEST()"))
    made = (<char*> p)[:n]
    OPENSSL_free(p)
    return made


def tls_ocsp_status(bytes response, chain, bytes issuer, bint verify, trusted=(), crls=()):
    """(status, Unix time of nextUpdate or 0) of chain[0], by this answer: "good", "revoked", "unknown".

    Its signature must be good; `verify`: and its signer be the issuer, or someone that it has charged, as far as `trusted`
    and the chain tell. All are DER.
    """
    cdef OCSP_RESPONSE* answer = tls_ocsp_parsed(response, "d2i_OCSP_RESPONSE()")
    cdef OCSP_BASICRESP* basic = NULL
    cdef int n = OCSP_response_status(answer)
    if n == OCSP_RESPONSE_STATUS_SUCCESSFUL:
        basic = OCSP_response_get1_basic(answer)
    OCSP_RESPONSE_free(answer)
    if n != OCSP_RESPONSE_STATUS_SUCCESSFUL:
        raise ValueError(f"OCSP response not successful ({n}: {OCSP_response_status_str(n).decode()})")
    if basic == NULL:
        raise ValueError(tls_said("OCSP_response_get1_basic()"))
    try:
        tls_ocsp_signed(basic, (*chain[1:], issuer), verify, trusted, crls)
        return tls_ocsp_found(basic, chain[0], issuer)
    finally:
        OCSP_BASICRESP_free(basic)
        ERR_clear_error()


cdef int tls_ocsp_signed(OCSP_BASICRESP* basic, chain, bint verify, trusted, crls) except -1:
    cdef SSL_CTX* ctx = SSL_CTX_new(TLS_server_method())    # for its store
    cdef OPENSSL_STACK* stack = sk_X509_new_null()
    try:
        if ctx == NULL or stack == NULL:
            raise MemoryError()
        tls_context_trust(ctx, dict.fromkeys(trusted), crls)
        for der in dict.fromkeys(chain):
            if lb_tls_stack_push(stack, tls_x509(der)) != 1:
                raise MemoryError()
        ERR_clear_error()
        if OCSP_basic_verify(basic, stack, SSL_CTX_get_cert_store(ctx), OCSP_TRUSTOTHER if verify else OCSP_NOVERIFY) != 1:
            why = lb_tls_error_data().decode("utf-8", "replace")
            said = tls_said("OCSP_basic_verify()")
            raise ValueError(f"{said.removesuffix(')')}:{why})" if why else said)
    finally:
        SSL_CTX_free(ctx)
        lb_tls_stack_free(stack)
    return 0


cdef tuple tls_ocsp_found(OCSP_BASICRESP* basic, bytes der, bytes issuer):
    cdef OCSP_CERTID* of = tls_ocsp_id(der, issuer)
    cdef int status = -1
    cdef ASN1_TIME* since = NULL
    cdef ASN1_TIME* until = NULL
    cdef int rc = OCSP_resp_find_status(basic, of, &status, NULL, NULL, &since, &until)
    OCSP_CERTID_free(of)
    if rc != 1:
        raise ValueError("certificate status not found in the OCSP response")
    ERR_clear_error()
    if OCSP_check_validity(since, until, OCSP_SKEW, -1) != 1:
        raise ValueError(tls_said("OCSP_check_validity()"))
    end = tls_unix_time(until) if until != NULL else 0
    if until != NULL and end <= 0:
        raise ValueError("invalid nextUpdate time in certificate status")
    return OCSP_cert_status_str(status).decode(), end
