"""TLS: what a connection's bytes pass between the socket and HTTP or TCP.

    handshake (OpenSSL) -> secrets -> keys -> TlsRecord;  records off the wire -> record: open -> bytes -> record: seal -> records

record.pxd  the record layer, sealed and opened in place: pure, and all of it       keys.pxd  keys out of secrets, their life
message.pxd what may come in records after the handshake: messages, alerts          evp.pxd   the calls of libcrypto that these use

Prefixes: tls_
"""
