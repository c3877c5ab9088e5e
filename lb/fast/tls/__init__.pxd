"""TLS: what a connection's bytes pass between the socket and HTTP or TCP.

    handshake (OpenSSL) -> secrets -> keys -> TlsRecord;  records off the wire -> record: open -> bytes -> record: seal -> wire

record.pxd  the record layer, sealed and opened in place: pure, and all of it       keys.pxd  keys out of secrets, their life
message.pxd what comes in records beside data: messages, alerts               evp.pxd   what these call in libcrypto

Prefixes: tls_
"""
