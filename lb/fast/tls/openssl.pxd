"""OpenSSL 3, as far as it is used: no more than AWS-LC has too, but for what c/tls.h hides."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from lb.fast.tls.evp cimport EVP_CIPHER, EVP_CIPHER_CTX, EVP_CipherInit_ex

cdef extern from "<openssl/ssl.h>" nogil:
    ctypedef struct SSL
    ctypedef struct SSL_CTX
    ctypedef struct SSL_METHOD
    ctypedef struct SSL_SESSION
    ctypedef struct SSL_CIPHER
    ctypedef struct BIO
    ctypedef struct BIO_METHOD
    ctypedef struct X509
    ctypedef struct X509_NAME
    ctypedef struct X509_CRL
    ctypedef struct X509_STORE
    ctypedef struct X509_STORE_CTX
    ctypedef struct EVP_PKEY
    enum:
        SSL_ERROR_NONE, SSL_ERROR_SSL, SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_SYSCALL, SSL_ERROR_ZERO_RETURN
        SSL_VERIFY_NONE, SSL_VERIFY_PEER, SSL_VERIFY_FAIL_IF_NO_PEER_CERT, SSL_VERIFY_CLIENT_ONCE
        SSL_CLIENT_HELLO_SUCCESS, SSL_CLIENT_HELLO_ERROR, SSL_TLSEXT_ERR_OK, SSL_TLSEXT_ERR_NOACK, SSL_TLSEXT_ERR_ALERT_FATAL
        SSL_AD_UNRECOGNIZED_NAME, SSL_AD_INTERNAL_ERROR
        TLSEXT_TYPE_server_name, TLSEXT_NAMETYPE_host_name, TLSEXT_MAXLEN_host_name
        TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION
        SSL_MODE_RELEASE_BUFFERS, SSL_MODE_ENABLE_PARTIAL_WRITE, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, SSL_MODE_AUTO_RETRY
        SSL_SENT_SHUTDOWN, SSL_RECEIVED_SHUTDOWN
        SSL_SESS_CACHE_OFF, SSL_SESS_CACHE_CLIENT, SSL_SESS_CACHE_SERVER, SSL_SESS_CACHE_NO_INTERNAL
        BIO_TYPE_SOURCE_SINK, BIO_CTRL_FLUSH
        SSL_SESS_CACHE_NO_AUTO_CLEAR, OPENSSL_NPN_NEGOTIATED
        SSL_READ_EARLY_DATA_ERROR, SSL_READ_EARLY_DATA_SUCCESS, SSL_READ_EARLY_DATA_FINISH
        SSL_CONF_FLAG_FILE, SSL_CONF_FLAG_CLIENT, SSL_CONF_FLAG_SERVER, SSL_CONF_FLAG_CERTIFICATE, SSL_CONF_FLAG_SHOW_ERRORS
        SSL_CONF_TYPE_FILE, SSL_CONF_TYPE_DIR
    ctypedef struct SSL_CONF_CTX:
        pass
    uint64_t SSL_OP_NO_SSLv3, SSL_OP_NO_TLSv1, SSL_OP_NO_TLSv1_1, SSL_OP_NO_TLSv1_2, SSL_OP_NO_TLSv1_3
    uint64_t SSL_OP_NO_COMPRESSION, SSL_OP_NO_RENEGOTIATION, SSL_OP_CIPHER_SERVER_PREFERENCE, SSL_OP_IGNORE_UNEXPECTED_EOF
    uint64_t SSL_OP_NO_TICKET, SSL_OP_SINGLE_ECDH_USE, SSL_OP_SINGLE_DH_USE, SSL_OP_NO_ANTI_REPLAY, SSL_OP_PRIORITIZE_CHACHA

    const SSL_METHOD* TLS_server_method() noexcept
    const SSL_METHOD* TLS_client_method() noexcept
    SSL_CTX* SSL_CTX_new(const SSL_METHOD* m) noexcept
    void SSL_CTX_free(SSL_CTX* ctx) noexcept
    uint64_t SSL_CTX_set_options(SSL_CTX* ctx, uint64_t options) noexcept
    uint64_t SSL_CTX_clear_options(SSL_CTX* ctx, uint64_t options) noexcept
    uint64_t SSL_CTX_get_options(const SSL_CTX* ctx) noexcept
    long SSL_CTX_set_mode(SSL_CTX* ctx, long mode) noexcept
    int SSL_CTX_set_min_proto_version(SSL_CTX* ctx, int v) noexcept
    int SSL_CTX_set_max_proto_version(SSL_CTX* ctx, int v) noexcept
    int SSL_CTX_get_min_proto_version(SSL_CTX* ctx) noexcept
    int SSL_CTX_get_max_proto_version(SSL_CTX* ctx) noexcept
    int SSL_CTX_set_cipher_list(SSL_CTX* ctx, const char* s) noexcept
    int SSL_CTX_set1_groups_list(SSL_CTX* ctx, char* s) noexcept
    int SSL_CTX_use_certificate(SSL_CTX* ctx, X509* x) noexcept
    int SSL_CTX_use_PrivateKey(SSL_CTX* ctx, EVP_PKEY* k) noexcept
    int SSL_CTX_check_private_key(const SSL_CTX* ctx) noexcept
    long SSL_CTX_add1_chain_cert(SSL_CTX* ctx, X509* x) noexcept
    long SSL_CTX_set_session_cache_mode(SSL_CTX* ctx, long mode) noexcept
    long SSL_CTX_set_timeout(SSL_CTX* ctx, long s) noexcept
    int SSL_CTX_set_session_id_context(SSL_CTX* ctx, const uint8_t* id, uint32_t n) noexcept
    void SSL_CTX_set_client_hello_cb(SSL_CTX* ctx, int (*cb)(SSL*, int*, void*) noexcept nogil, void* arg) noexcept
    long SSL_CTX_set_tlsext_servername_callback(SSL_CTX* ctx, int (*cb)(SSL*, int*, void*) noexcept nogil) noexcept
    void SSL_CTX_set_verify(SSL_CTX* ctx, int mode, int (*cb)(int, X509_STORE_CTX*) noexcept nogil) noexcept
    int SSL_CTX_get_verify_mode(const SSL_CTX* ctx) noexcept
    int SSL_CTX_get_verify_depth(const SSL_CTX* ctx) noexcept

    SSL* SSL_new(SSL_CTX* ctx) noexcept
    void SSL_free(SSL* s) noexcept
    void SSL_set_bio(SSL* s, BIO* r, BIO* w) noexcept
    void SSL_set_accept_state(SSL* s) noexcept
    void SSL_set_connect_state(SSL* s) noexcept
    int SSL_do_handshake(SSL* s) noexcept
    int SSL_read(SSL* s, void* p, int n) noexcept
    int SSL_peek(SSL* s, void* p, int n) noexcept
    int SSL_write(SSL* s, const void* p, int n) noexcept
    int SSL_shutdown(SSL* s) noexcept
    void SSL_set_quiet_shutdown(SSL* s, int on) noexcept
    int SSL_pending(const SSL* s) noexcept
    int SSL_get_error(const SSL* s, int rc) noexcept
    int SSL_session_reused(const SSL* s) noexcept
    int SSL_version(const SSL* s) noexcept
    int SSL_set_ex_data(SSL* s, int i, void* p) noexcept
    void* SSL_get_ex_data(const SSL* s, int i) noexcept
    SSL_CTX* SSL_set_SSL_CTX(SSL* s, SSL_CTX* ctx) noexcept
    SSL_CTX* SSL_get_SSL_CTX(const SSL* s) noexcept
    uint64_t SSL_set_options(SSL* s, uint64_t options) noexcept
    uint64_t SSL_clear_options(SSL* s, uint64_t options) noexcept
    uint64_t SSL_get_options(const SSL* s) noexcept
    int SSL_set_min_proto_version(SSL* s, int v) noexcept
    int SSL_set_max_proto_version(SSL* s, int v) noexcept
    int SSL_set1_groups_list(SSL* s, const char* groups) noexcept
    void SSL_set_verify(SSL* s, int mode, int (*cb)(int, X509_STORE_CTX*) noexcept nogil) noexcept
    void SSL_set_verify_depth(SSL* s, int depth) noexcept
    int SSL_set_session_id_context(SSL* s, const uint8_t* id, uint32_t n) noexcept
    long SSL_get_verify_result(const SSL* s) noexcept
    int SSL_client_hello_get0_ext(SSL* s, uint32_t type, const uint8_t** p, size_t* n) noexcept

    void SSL_set_msg_callback(SSL* s, void (*cb)(int, int, int, const void*, size_t, SSL*, void*) noexcept nogil) noexcept
    int SSL_in_init(const SSL* s) noexcept
    int SSL_CTX_set_alpn_protos(SSL_CTX* ctx, const uint8_t* p, unsigned int n) noexcept
    enum:
        SSL3_RT_HANDSHAKE, SSL3_MT_FINISHED, SSL3_RT_HEADER
    void SSL_CTX_set_keylog_callback(SSL_CTX* ctx, void (*cb)(const SSL*, const char*) noexcept nogil) noexcept
    const SSL_CIPHER* SSL_get_current_cipher(const SSL* s) noexcept
    uint32_t SSL_CIPHER_get_id(const SSL_CIPHER* c) noexcept
    SSL_SESSION* SSL_get_session(const SSL* s) noexcept
    size_t SSL_SESSION_get_master_key(const SSL_SESSION* s, uint8_t* out, size_t n) noexcept
    uint8_t SSL_SESSION_get_max_fragment_length(const SSL_SESSION* s) noexcept
    size_t SSL_get_client_random(const SSL* s, uint8_t* out, size_t n) noexcept
    size_t SSL_get_server_random(const SSL* s, uint8_t* out, size_t n) noexcept
    int SSL_has_pending(const SSL* s) noexcept
    void SSL_set_shutdown(SSL* s, int mode) noexcept

    long SSL_set_tlsext_host_name(SSL* s, const char* name) noexcept
    int SSL_set_session(SSL* s, SSL_SESSION* session) noexcept
    SSL_SESSION* SSL_SESSION_dup(const SSL_SESSION* s) noexcept
    void SSL_SESSION_free(SSL_SESSION* s) noexcept
    void SSL_CTX_sess_set_new_cb(SSL_CTX* ctx, int (*cb)(SSL*, SSL_SESSION*) noexcept nogil) noexcept
    X509* SSL_get_peer_certificate(const SSL* s) noexcept
    X509_STORE* SSL_CTX_get_cert_store(const SSL_CTX* ctx) noexcept
    void SSL_CTX_set_verify_depth(SSL_CTX* ctx, int depth) noexcept

    BIO_METHOD* BIO_meth_new(int type, const char* name) noexcept
    int BIO_meth_set_read(BIO_METHOD* m, int (*f)(BIO*, char*, int) noexcept nogil) noexcept
    int BIO_meth_set_write(BIO_METHOD* m, int (*f)(BIO*, const char*, int) noexcept nogil) noexcept
    int BIO_meth_set_ctrl(BIO_METHOD* m, long (*f)(BIO*, int, long, void*) noexcept nogil) noexcept
    BIO* BIO_new(const BIO_METHOD* m) noexcept
    int BIO_free(BIO* b) noexcept
    int BIO_up_ref(BIO* b) noexcept
    void BIO_set_init(BIO* b, int on) noexcept
    void BIO_set_retry_read(BIO* b) noexcept
    void BIO_set_retry_write(BIO* b) noexcept
    void BIO_clear_retry_flags(BIO* b) noexcept

cdef extern from "<openssl/err.h>" nogil:
    unsigned long ERR_get_error() noexcept
    unsigned long ERR_peek_error() noexcept
    unsigned long ERR_peek_last_error() noexcept
    void ERR_clear_error() noexcept
    void ERR_error_string_n(unsigned long e, char* p, size_t n) noexcept
    int ERR_GET_REASON(unsigned long e) noexcept

cdef extern from "tls_reasons.h" nogil:
    int LB_TLS_CLOSED, LB_TLS_TIMEOUT, LB_TLS_PROTOCOL, LB_TLS_CERTIFICATE, LB_TLS_NAME, LB_TLS_GARBAGE, LB_TLS_OTHER
    int lb_tls_alert(unsigned long e) noexcept
    int lb_tls_group(unsigned long e) noexcept
    int lb_tls_ours(unsigned long e) noexcept
    unsigned long lb_tls_error(int alert, int version13) noexcept
    unsigned long lb_tls_error_of_alert(int alert) noexcept

cdef extern from "tls_names.h" nogil:
    const char* lb_tls_group_name(int nid, unsigned int* number) noexcept
    int lb_tls_group_used(SSL* s) noexcept
    size_t lb_tls_ciphers(SSL* s, const uint8_t** p) noexcept
    const char* lb_tls_signature(SSL* s, int peer) noexcept
    const char* SSL_get_version(const SSL* s) noexcept
    const char* SSL_CIPHER_get_name(const SSL_CIPHER* c) noexcept
    const SSL_CIPHER* SSL_CIPHER_find(SSL* s, const uint8_t* p) noexcept
    const uint8_t* SSL_SESSION_get_id(const SSL_SESSION* s, unsigned int* n) noexcept
    const char* SSL_get_servername(const SSL* s, int kind) noexcept
    void SSL_get0_alpn_selected(const SSL* s, const uint8_t** p, unsigned int* n) noexcept
    int SSL_get1_curves(SSL* s, int* nids) noexcept
    int SSL_CTX_add_client_CA(SSL_CTX* ctx, X509* x) noexcept
    long SSL_CTX_set_tlsext_status_cb(SSL_CTX* ctx, int (*cb)(SSL*, void*) noexcept nogil) noexcept
    long SSL_set_tlsext_status_ocsp_resp(SSL* s, void* p, long n) noexcept
    ctypedef struct EVP_MD
    ctypedef struct ASN1_TIME
    ctypedef struct ASN1_INTEGER
    const EVP_MD* EVP_sha1() noexcept
    int X509_digest(const X509* x, const EVP_MD* md, uint8_t* out, unsigned int* n) noexcept
    X509_NAME* X509_get_subject_name(const X509* x) noexcept
    X509_NAME* X509_get_issuer_name(const X509* x) noexcept
    ASN1_INTEGER* X509_get_serialNumber(X509* x) noexcept
    const ASN1_TIME* X509_get0_notBefore(const X509* x) noexcept
    const ASN1_TIME* X509_get0_notAfter(const X509* x) noexcept
    int ASN1_TIME_print(BIO* b, const ASN1_TIME* t) noexcept
    int ASN1_TIME_diff(int* days, int* seconds, const ASN1_TIME* a, const ASN1_TIME* b) noexcept
    int i2a_ASN1_INTEGER(BIO* b, const ASN1_INTEGER* n) noexcept
    int X509_NAME_print_ex(BIO* b, const X509_NAME* name, int indent, unsigned long flags) noexcept
    char* X509_NAME_oneline(const X509_NAME* name, char* p, int n) noexcept
    int PEM_write_bio_X509(BIO* b, X509* x) noexcept
    const BIO_METHOD* BIO_s_mem() noexcept
    long BIO_get_mem_data(BIO* b, char** p) noexcept
    unsigned long XN_FLAG_RFC2253
    int X509_V_OK, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN
    int X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_CERT_UNTRUSTED

cdef extern from "<openssl/pem.h>" nogil:
    BIO* BIO_new_mem_buf(const void* p, int n) noexcept
    X509* PEM_read_bio_X509_AUX(BIO* b, X509** x, int (*cb)(char*, int, int, void*) noexcept, void* u) noexcept
    X509* PEM_read_bio_X509(BIO* b, X509** x, int (*cb)(char*, int, int, void*) noexcept, void* u) noexcept
    X509_CRL* PEM_read_bio_X509_CRL(BIO* b, X509_CRL** x, int (*cb)(char*, int, int, void*) noexcept, void* u) noexcept
    EVP_PKEY* PEM_read_bio_PrivateKey(BIO* b, EVP_PKEY** k, int (*cb)(char*, int, int, void*) noexcept, void* u) noexcept
    int ERR_LIB_PEM, PEM_R_NO_START_LINE
    int ERR_GET_LIB(unsigned long e) noexcept

cdef extern from "<openssl/x509.h>" nogil:
    void X509_free(X509* x) noexcept
    int i2d_X509(X509* x, uint8_t** p) noexcept
    X509* d2i_X509(X509** x, const uint8_t** p, long n) noexcept
    int X509_check_host(X509* x, const char* name, size_t n, unsigned int flags, char** found) noexcept
    int X509_check_ip_asc(X509* x, const char* address, unsigned int flags) noexcept
    const char* X509_verify_cert_error_string(long n) noexcept
    int X509_STORE_add_cert(X509_STORE* s, X509* x) noexcept
    int X509_STORE_add_crl(X509_STORE* s, X509_CRL* x) noexcept
    int X509_STORE_set_flags(X509_STORE* s, unsigned long flags) noexcept
    X509_CRL* d2i_X509_CRL(X509_CRL** x, const uint8_t** p, long n) noexcept
    int i2d_X509_CRL(X509_CRL* x, uint8_t** p) noexcept
    void X509_CRL_free(X509_CRL* x) noexcept
    enum:
        X509_V_FLAG_CRL_CHECK, X509_V_FLAG_CRL_CHECK_ALL
    int X509_check_private_key(const X509* x, const EVP_PKEY* k) noexcept
    void EVP_PKEY_free(EVP_PKEY* k) noexcept
    int i2d_PrivateKey(const EVP_PKEY* k, uint8_t** p) noexcept
    EVP_PKEY* d2i_AutoPrivateKey(EVP_PKEY** k, const uint8_t** p, long n) noexcept

cdef extern from "<openssl/crypto.h>" nogil:
    const char* OpenSSL_version(int what) noexcept
    const char* OPENSSL_VERSION_TEXT
    void OPENSSL_cleanse(void* p, size_t n) noexcept
    void OPENSSL_free(void* p) noexcept
    void* OPENSSL_malloc(size_t n) noexcept

# Sessions, tickets, early data, commands

cdef extern from "<openssl/ssl.h>" nogil:
    ctypedef struct EVP_MAC_CTX:
        pass
    void SSL_CTX_sess_set_new_cb(SSL_CTX* ctx, int (*cb)(SSL*, SSL_SESSION*) noexcept nogil) noexcept
    void SSL_CTX_sess_set_get_cb(SSL_CTX* ctx, SSL_SESSION* (*cb)(SSL*, const uint8_t*, int, int*) noexcept nogil) noexcept
    void SSL_CTX_sess_set_remove_cb(SSL_CTX* ctx, void (*cb)(SSL_CTX*, SSL_SESSION*) noexcept nogil) noexcept
    int SSL_CTX_set_tlsext_ticket_key_evp_cb(SSL_CTX* ctx, int (*cb)(SSL*, uint8_t*, uint8_t*, EVP_CIPHER_CTX*, EVP_MAC_CTX*,
                                                                     int) noexcept nogil) noexcept
    int SSL_CTX_set_num_tickets(SSL_CTX* ctx, size_t n) noexcept
    size_t SSL_CTX_get_num_tickets(const SSL_CTX* ctx) noexcept
    int SSL_set_num_tickets(SSL* s, size_t n) noexcept
    long SSL_SESSION_set_timeout(SSL_SESSION* s, long t) noexcept
    const uint8_t* SSL_SESSION_get_id(const SSL_SESSION* s, unsigned int* n) noexcept
    int i2d_SSL_SESSION(const SSL_SESSION* s, uint8_t** p) noexcept
    SSL_SESSION* d2i_SSL_SESSION(SSL_SESSION** s, const uint8_t** p, long n) noexcept
    int SSL_CTX_set_max_early_data(SSL_CTX* ctx, uint32_t n) noexcept
    uint32_t SSL_CTX_get_max_early_data(const SSL_CTX* ctx) noexcept
    uint32_t SSL_CTX_get_recv_max_early_data(const SSL_CTX* ctx) noexcept
    int SSL_set_max_early_data(SSL* s, uint32_t n) noexcept
    int SSL_set_recv_max_early_data(SSL* s, uint32_t n) noexcept
    int SSL_read_early_data(SSL* s, void* p, size_t n, size_t* got) noexcept
    int SSL_write_early_data(SSL* s, const void* p, size_t n, size_t* gone) noexcept
    int SSL_is_init_finished(const SSL* s) noexcept
    void SSL_CTX_set_alpn_select_cb(SSL_CTX* ctx, int (*cb)(SSL*, const uint8_t**, uint8_t*, const uint8_t*, unsigned int,
                                                            void*) noexcept nogil, void* arg) noexcept
    int SSL_select_next_proto(uint8_t** out, uint8_t* n, const uint8_t* ours, unsigned int ours_n, const uint8_t* theirs,
                              unsigned int theirs_n) noexcept
    int SSL_CTX_set0_tmp_dh_pkey(SSL_CTX* ctx, EVP_PKEY* k) noexcept
    SSL_CONF_CTX* SSL_CONF_CTX_new() noexcept
    void SSL_CONF_CTX_free(SSL_CONF_CTX* c) noexcept
    unsigned int SSL_CONF_CTX_set_flags(SSL_CONF_CTX* c, unsigned int flags) noexcept
    void SSL_CONF_CTX_set_ssl_ctx(SSL_CONF_CTX* c, SSL_CTX* ctx) noexcept
    int SSL_CONF_CTX_finish(SSL_CONF_CTX* c) noexcept
    int SSL_CONF_cmd(SSL_CONF_CTX* c, const char* name, const char* value) noexcept
    int SSL_CONF_cmd_value_type(SSL_CONF_CTX* c, const char* name) noexcept

cdef extern from "<openssl/pem.h>" nogil:
    EVP_PKEY* PEM_read_bio_Parameters(BIO* b, EVP_PKEY** k) noexcept

cdef extern from "<openssl/rand.h>" nogil:
    int RAND_bytes(uint8_t* p, int n) noexcept

cdef extern from "<openssl/evp.h>" nogil:
    EVP_CIPHER* EVP_CIPHER_fetch(void* lib, const char* name, const char* properties) noexcept
    int EVP_MAC_CTX_set_params(EVP_MAC_CTX* ctx, const OSSL_PARAM* params) noexcept

cdef extern from "<openssl/params.h>" nogil:
    ctypedef struct OSSL_PARAM:
        pass
    OSSL_PARAM OSSL_PARAM_construct_octet_string(const char* key, void* p, size_t n) noexcept
    OSSL_PARAM OSSL_PARAM_construct_utf8_string(const char* key, char* p, size_t n) noexcept
    OSSL_PARAM OSSL_PARAM_construct_end() noexcept

# What a certificate says of itself (certificate.pyx)

cdef extern from "<openssl/x509v3.h>" nogil:
    ctypedef struct ASN1_STRING
    ctypedef struct ASN1_OBJECT
    ctypedef struct X509_NAME_ENTRY
    ctypedef struct GENERAL_NAME
    ctypedef struct GENERAL_NAMES
    ctypedef struct OPENSSL_STACK "STACK_OF(X509)"
    enum:
        GEN_DNS, GEN_IPADD, NID_subject_alt_name, NID_commonName, NID_info_access, NID_undef
        EVP_PKEY_RSA, EVP_PKEY_RSA_PSS, EVP_PKEY_EC, EVP_PKEY_DSA, EVP_PKEY_ED25519
    unsigned long ASN1_STRFLGS_ESC_MSB
    int X509_NAME_cmp(const X509_NAME* a, const X509_NAME* b) noexcept
    int X509_NAME_get_index_by_NID(X509_NAME* name, int nid, int last) noexcept
    X509_NAME_ENTRY* X509_NAME_get_entry(const X509_NAME* name, int at) noexcept
    ASN1_STRING* X509_NAME_ENTRY_get_data(const X509_NAME_ENTRY* entry) noexcept
    int ASN1_STRING_to_UTF8(uint8_t** p, const ASN1_STRING* s) noexcept
    int ASN1_STRING_length(const ASN1_STRING* s) noexcept
    const uint8_t* ASN1_STRING_get0_data(const ASN1_STRING* s) noexcept
    int ASN1_TIME_to_tm(const ASN1_TIME* t, void* out) noexcept
    int X509_get_signature_nid(const X509* x) noexcept
    int X509_get_ext_by_NID(const X509* x, int nid, int last) noexcept
    void* X509_get_ext_d2i(const X509* x, int nid, int* critical, int* at) noexcept
    int sk_GENERAL_NAME_num(const GENERAL_NAMES* names) noexcept
    GENERAL_NAME* sk_GENERAL_NAME_value(const GENERAL_NAMES* names, int at) noexcept
    void GENERAL_NAMES_free(GENERAL_NAMES* names) noexcept
    void* GENERAL_NAME_get0_value(const GENERAL_NAME* name, int* kind) noexcept
    EVP_PKEY* X509_get0_pubkey(const X509* x) noexcept
    int EVP_PKEY_id(const EVP_PKEY* k) noexcept
    int EVP_PKEY_bits(const EVP_PKEY* k) noexcept
    int X509_check_issued(X509* issuer, X509* subject) noexcept
    X509_STORE* X509_STORE_new() noexcept
    int X509_STORE_set_default_paths(X509_STORE* store) noexcept
    X509_STORE_CTX* X509_STORE_CTX_new() noexcept
    void X509_STORE_CTX_free(X509_STORE_CTX* c) noexcept
    int X509_STORE_CTX_init(X509_STORE_CTX* c, X509_STORE* store, X509* x, OPENSSL_STACK* chain) noexcept
    int X509_STORE_CTX_get1_issuer(X509** issuer, X509_STORE_CTX* c, X509* x) noexcept
    int BIO_read(BIO* b, void* p, int n) noexcept
    int OBJ_find_sigid_algs(int nid, int* hash, int* key) noexcept
    const char* OBJ_nid2sn(int nid) noexcept
    int SSL_CTX_get_security_level(const SSL_CTX* ctx) noexcept
    void SSL_CTX_set_cert_cb(SSL_CTX* ctx, int (*cb)(SSL*, void*) noexcept nogil, void* arg) noexcept
    void SSL_certs_clear(SSL* s) noexcept
    int SSL_use_certificate(SSL* s, X509* x) noexcept
    int SSL_use_PrivateKey(SSL* s, EVP_PKEY* k) noexcept
    long SSL_add1_chain_cert(SSL* s, X509* x) noexcept
    int SSL_CTX_up_ref(SSL_CTX* ctx) noexcept

# OCSP (ocsp.pyx, staple.pyx)

cdef extern from "<openssl/ssl.h>" nogil:
    ctypedef struct CRYPTO_EX_DATA:
        pass
    int SSL_CTX_get_ex_new_index(long n, void* p, void* make, void* dup, void (*done)(
        void*, void*, CRYPTO_EX_DATA*, int, long, void*) noexcept nogil) noexcept
    int SSL_CTX_set_ex_data(SSL_CTX* ctx, int i, void* p) noexcept
    void* SSL_CTX_get_ex_data(const SSL_CTX* ctx, int i) noexcept
    X509* SSL_CTX_get0_certificate(const SSL_CTX* ctx) noexcept
    X509* SSL_get_certificate(const SSL* s) noexcept
    int X509_up_ref(X509* x) noexcept

cdef extern from "<openssl/ocsp.h>" nogil:
    ctypedef struct OCSP_RESPONSE
    ctypedef struct OCSP_BASICRESP
    ctypedef struct OCSP_REQUEST
    ctypedef struct OCSP_CERTID
    enum:
        OCSP_RESPONSE_STATUS_SUCCESSFUL, OCSP_NOVERIFY, OCSP_TRUSTOTHER
    OCSP_RESPONSE* d2i_OCSP_RESPONSE(OCSP_RESPONSE** r, const uint8_t** p, long n) noexcept
    void OCSP_RESPONSE_free(OCSP_RESPONSE* r) noexcept
    int OCSP_response_status(OCSP_RESPONSE* r) noexcept
    const char* OCSP_response_status_str(long n) noexcept
    OCSP_BASICRESP* OCSP_response_get1_basic(OCSP_RESPONSE* r) noexcept
    void OCSP_BASICRESP_free(OCSP_BASICRESP* b) noexcept
    int OCSP_basic_verify(OCSP_BASICRESP* b, OPENSSL_STACK* certs, X509_STORE* store, unsigned long flags) noexcept
    OCSP_CERTID* OCSP_cert_to_id(const EVP_MD* md, const X509* x, const X509* issuer) noexcept
    void OCSP_CERTID_free(OCSP_CERTID* id) noexcept
    int OCSP_resp_find_status(OCSP_BASICRESP* b, OCSP_CERTID* id, int* status, int* reason, ASN1_TIME** revoked,
                              ASN1_TIME** this_update, ASN1_TIME** next_update) noexcept
    int OCSP_check_validity(ASN1_TIME* this_update, ASN1_TIME* next_update, long skew, long most) noexcept
    const char* OCSP_cert_status_str(long n) noexcept
    OCSP_REQUEST* OCSP_REQUEST_new() noexcept
    void OCSP_REQUEST_free(OCSP_REQUEST* r) noexcept
    void* OCSP_request_add0_id(OCSP_REQUEST* r, OCSP_CERTID* id) noexcept
    int i2d_OCSP_REQUEST(OCSP_REQUEST* r, uint8_t** p) noexcept

cdef extern from "tls_ocsp.h" nogil:
    char* lb_tls_responder(X509* x) noexcept
    const char* lb_tls_error_data() noexcept
    void lb_tls_stack_free(OPENSSL_STACK* stack) noexcept
    int lb_tls_stack_push(OPENSSL_STACK* stack, X509* x) noexcept
    OPENSSL_STACK* sk_X509_new_null() noexcept
