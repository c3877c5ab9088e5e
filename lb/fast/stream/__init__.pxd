"""TCP sessions, and the PROXY header that may come before either protocol.

    accepted -> (proxy_protocol) -> tcp_begin -> session_start: realip, access, set, return -> up_start -> tcp_connected

Others call: tcp_begin, tcp_event, tcp_end, proxy_protocol_accepted, proxy_protocol_of.

Prefixes: proxy_protocol_ session_ tcp_
"""
