"""What one server has said of its connection does not hold for the next one's."""

from __future__ import annotations

from tests.harness import backend as raw

CONFIG = """
http {
    upstream two { server @bad@ max_fails=0; server @good@ max_fails=0; }
    server { listen 127.0.0.1:@http@; location / { proxy_next_upstream invalid_header; proxy_pass http://two; } }
}
"""
HEAD = b"HTTP/1.1 200 OK\r\n"


def test_a_connection_that_its_server_closes_is_not_pooled_for_the_word_of_another(run_lb, raw_backend, connect):
    """The first answer, which is bad, would have kept its connection; the second says close."""
    bad = raw_backend(raw.answer(HEAD + b"Transfer-Encoding: chunked\r\n\r\nnot a chunk"))
    good = raw_backend(raw.answer(HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nok"))
    lb = run_lb(CONFIG, bad=bad.address, good=good.address)
    lb.expect_log("upstream sent invalid chunked response")
    client = connect(lb.port("http"))
    for _ in range(20):
        answered = client.request()
        assert (answered.status, answered.body) == (200, b"ok")
