"""TLS to clients and to servers: a transport (lb/fast/io/structs.pxd) that stands on plain sockets.

    accept -> K_HANDSHAKE: tls_handshake -> ClientHello: tls_hello (server by name) -> K_HTTP, K_TCP -> tls_recv, tls_send
    connect -> S_HANDSHAKE: tls_handshake -> S_BUSY -> tls_recv, tls_send
    handshake (OpenSSL) -> secrets -> keys -> TlsRecord; records off the wire -> open -> bytes -> seal -> records

OpenSSL never sees a descriptor: it reads and writes through a BIO of ours over buffers that all connections of the worker share,
so one recv(2) and one send(2) serve an operation, however many records it has. After the handshake its SSL is freed where the
suite is one of ours, and the records are sealed and opened here (ssl_record_engine).

transport.pyx  the operations                   bio.pyx      OpenSSL's reads and writes
own.pyx        the operations on our own records    structs.pxd  Tls, TlsConf, TlsWorker
record.pxd     the record layer, sealed and opened in place: pure, and all of it     keys.pxd   keys out of secrets, their life
message.pxd    what else records hold: messages, alerts    evp.pxd      what these call in libcrypto
tickets.pxd, tickets.pyx        ticket keys in shared memory
session_cache.pxd, session_cache.pyx   session ids in shared memory
upstream.pyx   TLS to servers            verify.pyx        certificates of clients
info.pyx       what variables tell       fault.pyx         why a handshake failed
early.pyx      early data                settings.pyx      ALPN, DH parameters, ssl_conf_command
lazy.pyx       certificates that variables name, loaded during the handshake
certificate.pyx  what a certificate says of itself          renewal.pyx   new certificates while workers run
staple.pyx     stapled OCSP responses, one for each certificate    ocsp.pyx      OCSP requests and responses
context.pyx    SSL_CTX from the model; the ClientHello     load.pyx  certificates and keys from files     openssl.pxd   OpenSSL
broken.pyx     what breaks a connection after its handshake: counted, and told

Others call: tls_context_*, tls_pair, the row `tls`.

Prefixes: tls_
"""
