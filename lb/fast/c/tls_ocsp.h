/* OCSP: what OpenSSL gives as stacks, without them. */
#ifndef LB_TLS_OCSP_H
#define LB_TLS_OCSP_H

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/x509v3.h>

/* The first responder that the certificate names, to be freed with OPENSSL_free(); NULL: none. */
static inline char *lb_tls_responder(X509 *x)
{
    STACK_OF(OPENSSL_STRING) *found = X509_get1_ocsp(x);
    char *first = NULL;
    if (found != NULL && sk_OPENSSL_STRING_num(found) > 0)
        first = OPENSSL_strdup(sk_OPENSSL_STRING_value(found, 0));
    X509_email_free(found);
    return first;
}

/* What OpenSSL adds to the first error that it has queued; "": nothing. */
static inline const char *lb_tls_error_data(void)
{
    const char *data = NULL;
    int flags = 0;
#ifdef OPENSSL_IS_AWSLC
    ERR_peek_error_line_data(NULL, NULL, &data, &flags);
#else
    ERR_peek_error_data(&data, &flags);
#endif
    return data != NULL && (flags & ERR_TXT_STRING) ? data : "";
}

static inline void lb_tls_stack_free(STACK_OF(X509) *stack)
{
    sk_X509_pop_free(stack, X509_free);
}

/* Takes the certificate. */
static inline int lb_tls_stack_push(STACK_OF(X509) *stack, X509 *x)
{
    if (sk_X509_push(stack, x) > 0)
        return 1;
    X509_free(x);
    return 0;
}

#endif
