/* What kind of fault an OpenSSL error of a handshake is. In C because another library (AWS-LC) lacks some of the names. */
#ifndef LB_TLS_REASONS_H
#define LB_TLS_REASONS_H

#include <openssl/err.h>
#include <openssl/ssl.h>

enum { LB_TLS_CLOSED, LB_TLS_TIMEOUT, LB_TLS_PROTOCOL, LB_TLS_CERTIFICATE, LB_TLS_NAME, LB_TLS_GARBAGE, LB_TLS_OTHER };

/* An alert that the peer has sent stands in an error as 1000 + its number. -1: it is none. */
static inline int lb_tls_alert(unsigned long e)
{
    int reason = ERR_GET_REASON(e);
    return ERR_GET_LIB(e) == ERR_LIB_SSL && reason > 1000 && reason < 1256 ? reason - 1000 : -1;
}

/* Alerts of RFC 8446 section 6.2: the peer says what it did not like. */
static inline int lb_tls_alert_group(int alert)
{
    switch (alert) {
    case 41: case 42: case 43: case 44: case 45: case 46: case 48: case 49: case 111: case 113: case 116:
        return LB_TLS_CERTIFICATE;      /* bad, unsupported, revoked, expired, unknown; its CA; OCSP; required */
    case 40: case 70: case 71: case 86: case 120:
        return LB_TLS_PROTOCOL;         /* handshake_failure, version, security, fallback, no_application_protocol */
    case 112:
        return LB_TLS_NAME;
    case 0: case 90:
        return LB_TLS_CLOSED;           /* close_notify, user_canceled */
    }
    return LB_TLS_OTHER;
}

/* The group of an error. */
static inline int lb_tls_group(unsigned long e)
{
    int alert = lb_tls_alert(e);
    if (alert >= 0)
        return lb_tls_alert_group(alert);
    if (ERR_GET_LIB(e) != ERR_LIB_SSL)
        return LB_TLS_OTHER;
    switch (ERR_GET_REASON(e)) {
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_CIPHERS_SPECIFIED:
    case SSL_R_INAPPROPRIATE_FALLBACK:
    case SSL_R_UNKNOWN_PROTOCOL:
    case SSL_R_WRONG_SSL_VERSION:
#ifdef SSL_R_VERSION_TOO_LOW
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_VERSION_TOO_HIGH:
#endif
#ifdef SSL_R_NO_PROTOCOLS_AVAILABLE
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
#endif
#ifdef SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS
    case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
#endif
#ifdef SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
#endif
#ifdef SSL_R_NO_SHARED_GROUPS
    case SSL_R_NO_SHARED_GROUPS:
#endif
#ifdef SSL_R_NO_SUITABLE_KEY_SHARE
    case SSL_R_NO_SUITABLE_KEY_SHARE:
#endif
#ifdef SSL_R_NO_APPLICATION_PROTOCOL
    case SSL_R_NO_APPLICATION_PROTOCOL:
#endif
        return LB_TLS_PROTOCOL;
#ifdef SSL_R_CERTIFICATE_VERIFY_FAILED
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
#endif
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
#ifdef SSL_R_BAD_SIGNATURE
    case SSL_R_BAD_SIGNATURE:
#endif
        return LB_TLS_CERTIFICATE;
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_UNEXPECTED_MESSAGE:
    case SSL_R_UNEXPECTED_RECORD:
    case SSL_R_LENGTH_MISMATCH:
    case SSL_R_EXCESSIVE_MESSAGE_SIZE:
    case SSL_R_BAD_EXTENSION:
    case SSL_R_DATA_LENGTH_TOO_LONG:
    case SSL_R_ENCRYPTED_LENGTH_TOO_LONG:
    case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
#ifdef SSL_R_PACKET_LENGTH_TOO_LONG
    case SSL_R_PACKET_LENGTH_TOO_LONG:
#endif
#ifdef SSL_R_BAD_PACKET
    case SSL_R_BAD_PACKET:
#endif
#ifdef SSL_R_RECORD_LENGTH_MISMATCH
    case SSL_R_RECORD_LENGTH_MISMATCH:
#endif
#ifdef SSL_R_RECORD_TOO_SMALL
    case SSL_R_RECORD_TOO_SMALL:
#endif
#ifdef SSL_R_BAD_RECORD_TYPE
    case SSL_R_BAD_RECORD_TYPE:
#endif
#ifdef SSL_R_LENGTH_TOO_LONG
    case SSL_R_LENGTH_TOO_LONG:
#endif
#ifdef SSL_R_LENGTH_TOO_SHORT
    case SSL_R_LENGTH_TOO_SHORT:
#endif
#ifdef SSL_R_DECODE_ERROR
    case SSL_R_DECODE_ERROR:
#endif
        return LB_TLS_GARBAGE;
    }
    return LB_TLS_OTHER;
}

/* The error that OpenSSL has where a record of a peer gets this alert. */
static inline unsigned long lb_tls_error(int alert, int version13)
{
    switch (alert) {
    case SSL_AD_UNEXPECTED_MESSAGE:
        return ERR_PACK(ERR_LIB_SSL, 0, SSL_R_UNEXPECTED_MESSAGE);
    case SSL_AD_BAD_RECORD_MAC:
        return ERR_PACK(ERR_LIB_SSL, 0, SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC);
    case SSL_AD_RECORD_OVERFLOW:
        return ERR_PACK(ERR_LIB_SSL, 0, SSL_R_ENCRYPTED_LENGTH_TOO_LONG);
    case SSL_AD_ILLEGAL_PARAMETER:
#ifdef SSL_R_BAD_KEY_UPDATE
        if (version13)
            return ERR_PACK(ERR_LIB_SSL, 0, SSL_R_BAD_KEY_UPDATE);
#endif
        return ERR_PACK(ERR_LIB_SSL, 0, SSL_R_UNKNOWN_ALERT_TYPE);
    case SSL_AD_DECODE_ERROR:
        return ERR_PACK(ERR_LIB_SSL, 0, SSL_R_LENGTH_MISMATCH);
    case SSL_AD_PROTOCOL_VERSION:
        return ERR_PACK(ERR_LIB_SSL, 0, SSL_R_WRONG_VERSION_NUMBER);
    }
    return ERR_PACK(ERR_LIB_SSL, 0, ERR_R_INTERNAL_ERROR);
}

/* The error that OpenSSL has for an alert that the peer has sent. */
static inline unsigned long lb_tls_error_of_alert(int alert)
{
    return ERR_PACK(ERR_LIB_SSL, 0, 1000 + alert);
}

/* Is it ours: no memory, a fault of the library? What a client sends is never more than a note. */
static inline int lb_tls_ours(unsigned long e)
{
    int reason = ERR_GET_REASON(e);
    return reason == ERR_R_MALLOC_FAILURE || reason == ERR_R_INTERNAL_ERROR || reason == ERR_R_PASSED_NULL_PARAMETER;
}

#endif
