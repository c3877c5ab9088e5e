"""Challenges of an ACME server (RFC 8555): answered by every worker from memory that the process "lb: acme" writes.

    lb: acme: acme_board_set -> AcmeBoard, shared -> http-01: request_begin: acme_answered
                                                   tls-alpn-01: tls_hello: acme_hello -> acme_alpn, then closed (tls_done)

board.pyx   the memory, and both answers

Others call: acme_answered, acme_hello, both only where there is a board.

Prefixes: acme_
"""
