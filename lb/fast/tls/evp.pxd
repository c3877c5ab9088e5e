"""Declarations of libcrypto: the calls of the record layer. Only those that AWS-LC has too. No code of ours."""

cdef extern from "<openssl/evp.h>" nogil:
    ctypedef struct EVP_CIPHER:
        pass
    ctypedef struct EVP_CIPHER_CTX:
        pass
    ctypedef struct EVP_MD:
        pass
    enum:
        EVP_CTRL_AEAD_GET_TAG, EVP_CTRL_AEAD_SET_TAG
    const EVP_CIPHER* EVP_aes_128_gcm() noexcept
    const EVP_CIPHER* EVP_aes_256_gcm() noexcept
    const EVP_CIPHER* EVP_chacha20_poly1305() noexcept
    const EVP_MD* EVP_sha256() noexcept
    const EVP_MD* EVP_sha384() noexcept
    EVP_CIPHER_CTX* EVP_CIPHER_CTX_new() noexcept
    void EVP_CIPHER_CTX_free(EVP_CIPHER_CTX* ctx) noexcept
    int EVP_CIPHER_CTX_ctrl(EVP_CIPHER_CTX* ctx, int what, int n, void* p) noexcept
    int EVP_CipherInit_ex(EVP_CIPHER_CTX* ctx, const EVP_CIPHER* cipher, void* engine, const unsigned char* key,
                          const unsigned char* iv, int enc) noexcept
    int EVP_EncryptUpdate(EVP_CIPHER_CTX* ctx, unsigned char* out, int* out_n, const unsigned char* p, int n) noexcept
    int EVP_EncryptFinal_ex(EVP_CIPHER_CTX* ctx, unsigned char* out, int* out_n) noexcept
    int EVP_DecryptUpdate(EVP_CIPHER_CTX* ctx, unsigned char* out, int* out_n, const unsigned char* p, int n) noexcept
    int EVP_DecryptFinal_ex(EVP_CIPHER_CTX* ctx, unsigned char* out, int* out_n) noexcept

cdef extern from "<openssl/hmac.h>" nogil:
    unsigned char* HMAC(const EVP_MD* md, const void* key, int key_n, const unsigned char* p, size_t n, unsigned char* out,
                        unsigned int* out_n) noexcept

cdef extern from "<openssl/crypto.h>" nogil:
    void OPENSSL_cleanse(void* p, size_t n) noexcept

cdef extern from "<openssl/err.h>" nogil:
    void ERR_clear_error() noexcept
