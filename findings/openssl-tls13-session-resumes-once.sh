#!/bin/bash
# A client that keeps one session of OpenSSL for a server resumes it each time with TLS 1.2, and once only with TLS 1.3.
#
# A good guess: SSL_set_session() takes the session for as many connections as one likes (a proxy keeps one for each server, and opens
# ten connections at once), since the ticket in it is good for hours and the server accepts it again.
# Seen (pyOpenSSL 24.2.1, cryptography 43.0.1 with OpenSSL 3.3.2; also OpenSSL 3.0.22): five connections with the session of the
# first: TLS 1.2 full, resumed, resumed, resumed, resumed; TLS 1.3 full, resumed, full, full, full. No error: the client offers the
# session object no second time. Nothing fails but the cost of the handshakes.
# What to do: offer a copy each time (SSL_SESSION_dup).
#
# Exit 0: as described. Needs python3, openssl (for a certificate), and PyPI.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
cd "$here"
python3 -m venv v
v/bin/pip -q --disable-pip-version-check install pyOpenSSL==24.2.1 cryptography==43.0.1 2>/dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -out c.pem -keyout k.pem 2>/dev/null
cat >show.py <<'P'
import socket, ssl, threading
from OpenSSL import SSL

server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server.load_cert_chain("c.pem", "k.pem")
listener = socket.create_server(("127.0.0.1", 0))
seen = []

def serve():
    while True:
        connection, _ = listener.accept()
        tls = server.wrap_socket(connection, server_side=True)
        seen.append("resumed" if tls.session_reused else "full")
        tls.sendall(b"hello")
        tls.recv(3)
        tls.close()

def connections(version):
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(version)
    context.set_session_cache_mode(SSL.SESS_CACHE_CLIENT)
    seen.clear()
    session = None
    for _ in range(5):
        client = SSL.Connection(context, socket.create_connection(listener.getsockname()))
        client.set_connect_state()
        if session is not None:
            client.set_session(session)
        client.do_handshake()
        client.recv(5)  # tickets of TLS 1.3 come before it
        session = session or client.get_session()
        client.send(b"bye")
        client.shutdown()
        client.close()
    return " ".join(seen)

threading.Thread(target=serve, daemon=True).start()
print(SSL.SSLeay_version(0).decode())
print("TLS 1.2:", connections(SSL.TLS1_2_VERSION))
print("TLS 1.3:", connections(SSL.TLS1_3_VERSION))
P
v/bin/python show.py | tee said
grep -qx "TLS 1.2: full resumed resumed resumed resumed" said
grep -qx "TLS 1.3: full resumed full full full" said
