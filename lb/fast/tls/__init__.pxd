"""TLS to clients and to servers: a transport (lb/fast/io/structs.pxd) that stands on plain sockets.

    accept -> K_HANDSHAKE: tls_handshake -> ClientHello: tls_choose (server by name) -> K_HTTP, K_TCP -> tls_recv, tls_send
    connect -> S_HANDSHAKE: tls_handshake -> S_BUSY -> tls_recv, tls_send

OpenSSL never sees a descriptor: it reads and writes through a BIO of ours over buffers that all connections of the worker share,
so one recv(2) and one send(2) serve an operation, however many records it has.

openssl.pxd    OpenSSL's functions              structs.pxd    Tls, TlsConf, TlsWorker
bio.pyx        OpenSSL's reads and writes       transport.pyx  the operations
context.pyx    SSL_CTX from the model; the ClientHello   load.pyx   certificates and keys from files

Others call: tls_context_*, tls_pair, the row `tls`. Structs: structs.pxd.

Prefixes: tls_
"""
