"""TCP sessions, and the PROXY header that may come before either protocol.

    accepted -> (proxy_protocol) -> tcp_begin -> session_start: realip, access, set, ssl_preread, return
    -> up_start -> tcp_connected

session.pyx  what comes before a server is chosen          tcp.pyx   bytes both ways
preread.pyx, client_hello.pxd   ssl_preread                proxy_protocol.pyx, proxy_protocol.pxd   the PROXY header

Others call: tcp_begin, tcp_event, tcp_end, proxy_protocol_accepted, proxy_protocol_of.

Prefixes: hello_ preread_ proxy_protocol_ session_ tcp_
"""
