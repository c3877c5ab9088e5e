"""The variables that a value may use, and the reading of "$name" and "${name}" into a compiled `Value`.

`VARIABLES` is the reference (doc/directives.md prints it) and the same set as `lb._fast.VARIABLES`: the engine
knows how to make each.  A name that ends in "_" is a family: `$http_user_agent`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from lb.config.errors import Refused
from lb.config.scope import Kind
from lb.model import Value, Var

VARIABLES: dict[str, str] = {
    "arg_": "The argument of that name in the query string.",
    "args": "The query string, without the question mark.",
    "binary_remote_addr": "The client's address as 4 or 16 bytes.",
    "body_bytes_sent": "Bytes of the response body, chunks' framing included, that the client's socket took so far.",
    "bytes_sent": "Bytes that the client's socket took so far: interim responses, head and body.",
    "connection": "The serial number of the client's connection.",
    "connection_time": "Seconds since the client's connection was accepted, with milliseconds.",
    "connection_requests": "Requests made on the client's connection so far.",
    "content_length": "The request's Content-Length field.",
    "content_type": "The request's Content-Type field.",
    "cookie_": "The cookie of that name.",
    "document_root": "What `root` or `alias` says for the request.",
    "document_uri": "The same as $uri.",
    "gzip_ratio": "How many times smaller `gzip` made the response, with two digits; - for one that it left alone.",
    "host": "The host of the request line, or of the Host field, or else the server's name; lower case, no port.",
    "hostname": "The name of this machine.",
    "http_": "The request field of that name: lower case, dashes written as underscores.",
    "https": '"on" if the connection uses TLS, else empty.',
    "is_request_port": '":" if the client wrote a port, else empty.',
    "is_args": 'A "?" if the request has a query string, else empty.',
    "limit_req_status": "What limit_req did: PASSED, DELAYED, REJECTED, DELAYED_DRY_RUN or REJECTED_DRY_RUN.",
    "msec": "The time now in seconds, with milliseconds.",
    "nginx_version": "The version of nginx whose behaviour lb follows.",
    "pipe": '"p" if the request came behind another one that was not answered yet (pipelined), else ".".',
    "pid": "The worker's process number.",
    "proxy_add_x_forwarded_for": "The request's X-Forwarded-For with $remote_addr added after a comma.",
    "proxy_host": "Host and port as written in proxy_pass.",
    "proxy_port": "The port of proxy_pass, or the protocol's default.",
    "proxy_protocol_addr": "The client's address, as the PROXY header says.",
    "proxy_protocol_port": "The client's port, as the PROXY header says.",
    "proxy_protocol_server_addr": "The address that the client connected to, as the PROXY header says.",
    "proxy_protocol_server_port": "The port that the client connected to, as the PROXY header says.",
    "proxy_protocol_tlv_": "The TLV of that name (alpn, authority, unique_id, ssl, netns, ssl_version, ssl_cn, "
    "ssl_cipher, ssl_sig_alg, ssl_key_alg, ssl_verify) or number (0x01, ssl_0x21) of the PROXY header.",
    "realip_remote_addr": "The address that the connection comes from, where set_real_ip_from has replaced it.",
    "realip_remote_port": "The port that the connection comes from.",
    "query_string": "The same as $args.",
    "realpath_root": "$document_root with all symbolic links followed; empty if it is not there.",
    "remote_user": "The name in the Authorization field (Basic), unchecked.",
    "remote_addr": "The client's address.",
    "remote_port": "The client's port.",
    "request": "The request line as received.",
    "request_body": "The request's body, where it was read whole before a server was chosen and lies in memory.",
    "request_body_file": "The name of the file that holds the request's body, where it lies in one.",
    "request_filename": "The file that the request's path stands for: $document_root and $uri.",
    "request_id": "16 random bytes in hexadecimal, made once for each request.",
    "request_length": "Bytes of the request: line, head and body; of a head that ends early, its whole lines.",
    "request_method": "GET, POST, ...",
    "request_port": "The port that the client wrote in the target or the Host field.",
    "request_time": "Seconds since the first byte of the request, with milliseconds.",
    "request_uri": "The target as received, with arguments.",
    "scheme": "http or https.",
    "sent_http_": "The field of that name in the response that the client was sent.",
    "sent_trailer_": "The field of that name behind the body of the response to the client.",
    "server_addr": "The address that accepted the request.",
    "server_name": "The name of the server that took the request.",
    "server_port": "The port that accepted the request.",
    "http2": "h2 over TLS, h2c in clear text; nothing for HTTP/1.",
    "server_protocol": "HTTP/1.0, HTTP/1.1 or HTTP/2.0.",
    "ssl_alpn_protocol": "The protocol that ALPN agreed on.",
    "ssl_cipher": "The cipher suite in use, as OpenSSL names it.",
    "ssl_ciphers": "The cipher suites that the client offered.",
    "ssl_client_cert": "The client's certificate in PEM, each line but the first behind a tab.",
    "ssl_client_escaped_cert": "The client's certificate in PEM, encoded as a part of a URL.",
    "ssl_client_fingerprint": "SHA-1 of the client's certificate in hexadecimal.",
    "ssl_client_i_dn": "The issuer of the client's certificate (RFC 2253).",
    "ssl_client_i_dn_legacy": "The issuer of the client's certificate in the old form.",
    "ssl_client_raw_cert": "The client's certificate in PEM.",
    "ssl_client_s_dn": "The subject of the client's certificate (RFC 2253).",
    "ssl_client_s_dn_legacy": "The subject of the client's certificate in the old form: /C=DE/CN=x.",
    "ssl_client_serial": "The serial number of the client's certificate in hexadecimal.",
    "ssl_client_sigalg": "The signature scheme of the client's certificate check.",
    "ssl_client_v_end": "When the client's certificate ends to be valid.",
    "ssl_client_v_remain": "Days until the client's certificate ends.",
    "ssl_client_v_start": "When the client's certificate begins to be valid.",
    "ssl_client_verify": "SUCCESS, FAILED:why, or NONE if the client has shown no certificate.",
    "ssl_curve": "The group of the key exchange.",
    "ssl_curves": "The groups that the client offered.",
    "ssl_early_data": '"1" for a request that came before the handshake was done, else empty.',
    "ssl_protocol": "The version of TLS: TLSv1.3.",
    "ssl_server_name": "The name that the client asked for (SNI).",
    "ssl_session_id": "The session's number in hexadecimal.",
    "ssl_session_reused": '"r" if the session was resumed, else ".".',
    "ssl_sigalg": "The signature scheme of the handshake.",
    "status": "The status of the response.",
    "time_iso8601": "The local time in ISO 8601 form.",
    "time_local": "The local time in the form of the Common Log Format.",
    "upstream_addr": 'Address of the server that was asked; of all that were tried, separated by ", ".',
    "upstream_bytes_received": "Bytes received from each server that was asked.",
    "upstream_bytes_sent": "Bytes sent to each server that was asked.",
    "upstream_connect_time": "Seconds until the connection to each server stood.",
    "upstream_cookie_": "The cookie of that name that the last server set.",
    "upstream_trailer_": "The field of that name behind the body of the last server's chunked response.",
    "upstream_header_time": "Seconds until the response head of each server was read.",
    "upstream_http_": "The field of that name in the last server's response.",
    "upstream_response_length": "Bytes of the response body of each server, the framing of chunks included.",
    "upstream_response_time": "Seconds until the response of each server was read.",
    "upstream_status": 'Status that the server answered; of all that were tried, separated by ", ".',
    "uri": "The path of the request, decoded and normalised, without arguments.",
}

_PART = re.compile(r"\$(\{)?([A-Za-z0-9_]*)(\})?|[^$]+", re.ASCII)


# Those that a value in stream{} may use.
STREAM_VARIABLES: dict[str, str] = {
    "binary_remote_addr": "The client's address as 4 or 16 bytes.",
    "bytes_received": "Bytes received from the client.",
    "bytes_sent": "Bytes sent to the client.",
    "connection": "The serial number of the client's connection.",
    "hostname": "The name of this machine.",
    "msec": "The time now in seconds, with milliseconds.",
    "nginx_version": "The version of nginx whose behaviour lb follows.",
    "pid": "The worker's process number.",
    "protocol": "TCP.",
    "proxy_protocol_addr": "The client's address, as the PROXY header says.",
    "proxy_protocol_port": "The client's port, as the PROXY header says.",
    "proxy_protocol_server_addr": "The address that the client connected to, as the PROXY header says.",
    "proxy_protocol_server_port": "The port that the client connected to, as the PROXY header says.",
    "proxy_protocol_tlv_": "The TLV of that name (alpn, authority, unique_id, ssl, netns, ssl_version, ssl_cn, "
    "ssl_cipher, ssl_sig_alg, ssl_key_alg, ssl_verify) or number (0x01, ssl_0x21) of the PROXY header.",
    "realip_remote_addr": "The address that the connection comes from, where set_real_ip_from has replaced it.",
    "realip_remote_port": "The port that the connection comes from.",
    "session_time": "Seconds since the connection was accepted, with milliseconds.",
    "ssl_preread_alpn_protocols": "The protocols that the client's ClientHello asks for (ssl_preread): h2,http/1.1.",
    "ssl_preread_protocol": "The newest version that it offers: TLSv1.3 (or later), TLSv1.2, ..., SSLv2.",
    "ssl_preread_server_name": "The server's name in the client's ClientHello (ssl_preread), as the client wrote it.",
    "status": "200, or 400 when ssl_preread's buffer was full, "
    "502 when no server could be reached, 500 when lb lacked resources.",
    "ssl_alpn_protocol": "The protocol that ALPN agreed on.",
    "ssl_cipher": "The cipher suite in use, as OpenSSL names it.",
    "ssl_ciphers": "The cipher suites that the client offered.",
    "ssl_client_cert": "The client's certificate in PEM, each line but the first behind a tab.",
    "ssl_client_escaped_cert": "The client's certificate in PEM, encoded as a part of a URL.",
    "ssl_client_fingerprint": "SHA-1 of the client's certificate in hexadecimal.",
    "ssl_client_i_dn": "The issuer of the client's certificate (RFC 2253).",
    "ssl_client_i_dn_legacy": "The issuer of the client's certificate in the old form.",
    "ssl_client_raw_cert": "The client's certificate in PEM.",
    "ssl_client_s_dn": "The subject of the client's certificate (RFC 2253).",
    "ssl_client_s_dn_legacy": "The subject of the client's certificate in the old form: /C=DE/CN=x.",
    "ssl_client_serial": "The serial number of the client's certificate in hexadecimal.",
    "ssl_client_sigalg": "The signature scheme of the client's certificate check.",
    "ssl_client_v_end": "When the client's certificate ends to be valid.",
    "ssl_client_v_remain": "Days until the client's certificate ends.",
    "ssl_client_v_start": "When the client's certificate begins to be valid.",
    "ssl_client_verify": "SUCCESS, FAILED:why, or NONE if the client has shown no certificate.",
    "ssl_curve": "The group of the key exchange.",
    "ssl_curves": "The groups that the client offered.",
    "ssl_early_data": '"1" for data that came before the handshake was done, else empty.',
    "ssl_protocol": "The version of TLS: TLSv1.3.",
    "ssl_server_name": "The name that the client asked for (SNI).",
    "ssl_session_id": "The session's number in hexadecimal.",
    "ssl_session_reused": '"r" if the session was resumed, else ".".',
    "ssl_sigalg": "The signature scheme of the handshake.",
    "upstream_bytes_received": "Bytes received from each server.",
    "upstream_bytes_sent": "Bytes sent to each server.",
    "upstream_connect_time": "Seconds until the connection to each server stood.",
    "upstream_first_byte_time": "Seconds until the first byte of the server.",
    "upstream_session_time": "Seconds that each server was used.",
    "remote_addr": "The client's address.",
    "remote_port": "The client's port.",
    "server_addr": "The address that accepted the connection.",
    "server_port": "The port that accepted the connection.",
    "time_iso8601": "The local time in ISO 8601 form.",
    "time_local": "The local time in the form of the Common Log Format.",
    "upstream_addr": 'Address of the server; of all that were tried, separated by ", ".',
}


_unknown: list[str] = []


def own(name: str, kind: Kind) -> str:
    """A variable that the configuration makes, as Config.variables names it: http and stream have each their own."""
    return name if kind == "http" else f"stream {name}"


def shown(name: str) -> str:
    """As the configuration writes it."""
    return name.rpartition(" ")[2]


def did_you_mean(name: str, defined: Iterable[str]) -> str:
    """A hint for an unknown variable (`own`): the one that it is most like, of lb's and of those that are `defined`."""
    kind: Kind = "http" if name == shown(name) else "stream"
    table = VARIABLES if kind == "http" else STREAM_VARIABLES
    there = {one for one in table if not one.endswith("_")} | {
        shown(one) for one in defined if own(shown(one), kind) == one
    }
    close = difflib.get_close_matches(shown(name), sorted(there), 1)
    if close:
        return f'did you mean "${close[0]}"?'
    other = kind == "stream" and shown(name) in VARIABLES
    return f'"${shown(name)}" is a variable of http' if other else ""


def take_unknown() -> list[str]:
    """The names (`own`), in values compiled since the last call, that only the configuration itself can define.

    Whether it does is known when all of it has been read: a variable may be used before its `set` or `map`.
    """
    found = _unknown[:]
    _unknown.clear()
    return found


def known(name: str, kind: Kind = "http", families: bool = True) -> bool:
    """Whether a variable of this (lower case) name exists, by itself or (`families`) as one of a family."""
    table = VARIABLES if kind == "http" else STREAM_VARIABLES
    if name in table and not name.endswith("_"):
        return True
    return families and any(name.startswith(family) for family in table if family.endswith("_"))


def compile_value(text: str, kind: Kind = "http") -> Value:
    """Text with variables as its parts. Raises Refused with nginx's texts; see take_unknown for unknown names.

    Var("1") to Var("9") are the captures of the last regular expression.
    """
    parts: list[str | Var] = []
    position = 0
    while position < len(text):
        match = _PART.match(text, position)
        assert match is not None  # "$" and "not $" cover every character
        position = match.end()
        if match[0][0] != "$":
            parts.append(match[0])
            continue
        if match[3] and not match[1]:  # "$name}": the brace is text
            position -= 1
        if not match[1] and match[2][:1] in tuple("123456789"):  # "$12" is $1 and a "2"
            position = match.start() + 2
            parts.append(Var(match[2][0]))
            continue
        parts.append(Var(_check_name(match, kind)))
    return tuple(parts)


def _check_name(match: re.Match[str], kind: Kind) -> str:
    name = match[2].lower()
    at_end = match.end() == len(match.string)
    if match[1] and not match[3] and (name or not at_end):
        raise Refused(f'the closing bracket in "{name}" variable is missing')
    if not name:
        raise Refused("invalid variable name")
    if known(name, kind) or (len(name) == 1 and name in "123456789"):
        return name
    _unknown.append(own(name, kind))
    return _unknown[-1]
