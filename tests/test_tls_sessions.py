"""Resumed sessions: tickets, ids, over workers, reloads, deaths, a new binary, and two lb."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from lb import _fast
from tests.harness.lb import Lb
from tests.harness.wait import wait_for
from tests.harness.world import World
from tests.test_master_upgrade import Pair
from tests.tls_visits import Visit, client_context, openssl, self_signed, visit

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
CONF = """worker_processes 2;
http {
    access_log off;
    @settings@
    server { listen 127.0.0.1:@http@ ssl reuseport; server_name a.test; ssl_certificate @dir@/a.test.crt;
             ssl_certificate_key @dir@/a.test.key; return 200 $pid; }
    server { listen 127.0.0.1:@http@ ssl; server_name b.test; ssl_certificate @dir@/b.test.crt;
             ssl_certificate_key @dir@/b.test.key; @more@ return 200 $pid; }
}"""
CONF_ONE = CONF.replace(" reuseport", "")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certificates")
    self_signed(directory, "a.test")
    self_signed(directory, "b.test")
    return directory


@pytest.fixture
def start(run_lb: Callable[..., Lb], certificates: Path) -> Callable[..., Lb]:
    def run(settings: str = "", more: str = "", text: str = CONF, **values: object) -> Lb:
        return run_lb(text, settings=settings, more=more, dir=certificates, **values)

    return run


def all_workers(lb: Lb, context: ssl.SSLContext, session: ssl.SSLSession | None) -> list[Visit]:
    """Visits with this session until every worker has answered one."""
    visits: list[Visit] = []

    def seen_all() -> bool:
        visits.append(visit(lb.port("http"), context, session))
        return {str(worker.pid).encode() for worker in lb.workers} <= {one.body for one in visits}  # old ones go

    wait_for(seen_all)
    return visits


@pytest.mark.parametrize("version", [V12, V13])
def test_every_ticket_resumes_over_reloads_and_workers(start, version: ssl.TLSVersion) -> None:
    lb = start()
    context = client_context(version)
    first = visit(lb.port("http"), context)
    assert not first.resumed and first.session is not None
    for _ in range(10):
        lb.reload()
        assert all(one.resumed for one in all_workers(lb, context, first.session))


@pytest.mark.parametrize("version", [V12, V13])
def test_a_killed_worker_takes_no_session_along(start, version: ssl.TLSVersion) -> None:
    lb = start()
    lb.expected.append("exited on signal 9")
    context = client_context(version)
    first = visit(lb.port("http"), context)
    victim = int(first.body)
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: len(lb.workers) == 2 and victim not in {worker.pid for worker in lb.workers})
    lb.wait_ready()
    assert all(one.resumed for one in all_workers(lb, context, first.session))


@pytest.fixture
def pair(world: World) -> Iterator[Pair]:
    made = Pair(world.new_lb())
    yield made
    for process in made.alive():
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGTERM)
    assert not psutil.wait_procs(made.alive(), timeout=20)[1], made.lb.log
    made.lb.check_log()


@pytest.mark.parametrize("version", [V12, V13])
def test_tickets_of_the_old_binary_are_good_for_the_new_one(
    pair: Pair, certificates: Path, version: ssl.TLSVersion
) -> None:
    pair.lb.values.update(dir=str(certificates), settings="", more="")
    pair.start(CONF_ONE)
    port, context = pair.lb.port("http"), client_context(version)
    first = visit(port, context)
    old, new = pair.upgrade()
    pair.lb.seen.clear()
    old.send_signal(signal.SIGQUIT)
    assert not psutil.wait_procs([old], timeout=60)[1]
    again = visit(port, context, first.session)
    assert again.resumed and int(again.body) in {worker.pid for worker in pair.workers(new)}


def test_a_session_is_bound_to_the_name_and_its_server(start) -> None:
    lb = start()
    for version in (V12, V13):
        context = client_context(version)
        first = visit(lb.port("http"), context, name="a.test")
        assert visit(lb.port("http"), context, first.session, name="a.test").resumed
        other = visit(lb.port("http"), context, first.session, name="b.test")
        assert not other.resumed and b"200 OK" in other.answer
        assert not visit(lb.port("http"), context, first.session, name="other.test").resumed  # the same server


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize("tickets", ["on", "off"])
def test_timeout(start, version: ssl.TLSVersion, tickets: str) -> None:
    """Each server's own: that of a name counts, not that of the first server of the address."""
    lb = start("ssl_session_tickets %s; ssl_session_cache shared:x:1m;" % tickets, "ssl_session_timeout 2s;")
    context = client_context(version)
    long = visit(lb.port("http"), context, name="a.test")
    short = visit(lb.port("http"), context, name="b.test")
    assert visit(lb.port("http"), context, short.session, name="b.test").resumed
    wait_for(lambda: not visit(lb.port("http"), context, short.session, name="b.test").resumed)
    assert visit(lb.port("http"), context, long.session, name="a.test").resumed


# ---- ids


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize("where", ["http", "stream"])
def test_a_shared_cache_is_one_for_all_workers_and_reloads(run_lb, certificates, version, where: str) -> None:
    lb = run_lb(_of(where), dir=certificates, cache="shared:one:1m")
    context = client_context(version, tickets=version == V13)
    first = visit(lb.port("http"), context)
    assert first.session is not None and (version == V13 or first.session.id)
    for _ in range(3):
        assert all(one.resumed for one in all_workers(lb, context, first.session))
        lb.reload()
    assert all(one.resumed for one in all_workers(lb, context, first.session))
    lb.reload(_of(where), cache="shared:one:2m")  # another size is another zone
    assert not visit(lb.port("http"), context, first.session).resumed


def _of(where: str) -> str:
    server = "server { listen 127.0.0.1:@http@ ssl reuseport; ssl_certificate @dir@/a.test.crt; %s }"
    tls = "ssl_certificate_key @dir@/a.test.key; ssl_session_tickets off; ssl_session_cache @cache@; "
    text = 'return "HTTP/1.1 200 OK\\r\\n\\r\\n$pid";' if where == "stream" else "return 200 $pid;"
    off = "access_log off;"
    return f"worker_processes 2;\n{where} {{ {off} {server % (tls + text)} }}"


def test_builtin_is_each_workers_own(run_lb, certificates) -> None:
    lb = run_lb(_of("http"), dir=certificates, cache="builtin:100")
    context = client_context(V12, tickets=False)
    first = visit(lb.port("http"), context)
    visits = all_workers(lb, context, first.session)
    assert {one.resumed for one in visits if one.body == first.body} == {True}
    assert not next(one for one in visits if one.body != first.body).resumed


def test_none_shows_ids_that_nobody_keeps_and_off_shows_none(run_lb, certificates) -> None:
    lb = run_lb(_of("http"), dir=certificates, cache="none")
    context = client_context(V12, tickets=False)
    first = visit(lb.port("http"), context)
    assert first.session is not None and first.session.id
    assert not visit(lb.port("http"), context, first.session).resumed
    tickets = openssl("s_client", "-connect", f"127.0.0.1:{lb.port('http')}", "-tls1_3", text=b"GET / HTTP/1.0\r\n\r\n")
    assert b"Post-Handshake New Session Ticket" not in tickets
    lb.reload(_of("http"), cache="off")
    second = visit(lb.port("http"), context)
    assert second.session is None or not second.session.id


def test_a_cache_of_a_name_behind_a_server_without_one(start) -> None:
    """The first server of the address says `off`: its connections show no id, those of the other name are kept."""
    lb = start("ssl_session_tickets off; ssl_session_cache off;", "ssl_session_cache shared:b:1m;")
    for version in (V12, V13):
        context = client_context(version, tickets=False)
        for _ in range(3):
            first = visit(lb.port("http"), context, name="b.test")
            assert visit(lb.port("http"), context, first.session, name="b.test").resumed
        none = visit(lb.port("http"), context, name="a.test")
        assert version == V13 or none.session is None or not none.session.id


def test_a_cut_connection_leaves_its_session_in_the_cache(run_lb, certificates) -> None:
    """A client that goes without close_notify, or with a reset: most do."""
    text = _of("http").replace(
        "ssl_session_tickets", "keepalive_timeout 60s; ssl_record_engine openssl; ssl_session_tickets"
    )
    lb = run_lb(text, dir=certificates, cache="shared:one:1m")
    context = client_context(V12, tickets=False)
    with socket.create_connection(("127.0.0.1", lb.port("http")), 30) as plain:
        sock = context.wrap_socket(plain, do_handshake_on_connect=True)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(4096)
        session = sock.session
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    assert all(one.resumed for one in all_workers(lb, context, session))


# ---- keys


def own_ring(lb: Lb) -> Path:
    found = [fd for fd in Path(f"/proc/{lb.master.pid}/fd").iterdir() if "lb-ticket-keys" in os.readlink(fd)]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("version", [V12, V13])
def test_the_master_rotates_its_keys(start, version: ssl.TLSVersion) -> None:
    lb = start()
    context = client_context(version)
    first = visit(lb.port("http"), context)
    ring = own_ring(lb)
    data = ring.read_bytes()
    at = 24 + 88  # magic, seq, n; of the first key: name, mac, aes, size
    made = int.from_bytes(data[at : at + 8], "little")
    assert 0 <= int(time.monotonic()) - made < 600
    with ring.open("r+b") as stream:  # as if two hours had passed
        stream.seek(at)
        stream.write((made - 7200).to_bytes(8, "little", signed=True))
    lb.signal(signal.SIGHUP)  # the master looks at it in its next turn
    wait_for(lambda: int.from_bytes(ring.read_bytes()[16:20], "little") == 2)
    assert ring.read_bytes()[24:40] != data[24:40] and ring.read_bytes()[24 + 104 : 40 + 104] == data[24:40]
    again = visit(lb.port("http"), context, first.session)
    assert again.resumed
    assert visit(lb.port("http"), context, again.session).resumed


def test_ring_keeps_a_key_for_as_long_as_its_tickets_live() -> None:
    ring = _fast.TlsRing.own()
    start = int(time.monotonic())
    ring.rotate(start, 3600, 300)
    (first,) = ring.names()
    assert not ring.rotate(start + 3599, 3600, 300)
    assert ring.due(3600) == pytest.approx(start + 3600, abs=60)
    assert ring.rotate(start + 3700, 3600, 300)
    assert ring.names()[1:] == (first,)
    ring.rotate(start + 3700 + 299, 3600, 300)
    assert first in ring.names()
    ring.rotate(start + 3700 + 300, 3600, 300)
    assert first not in ring.names() and len(ring.names()) == 1
    for turn in range(100):  # more than there is room for
        assert ring.rotate(start + 10_000 + turn * 3600, 3600, 1 << 40)
    assert len(ring.names()) == 32


def test_keys_are_in_no_core(start) -> None:
    lb = start("ssl_session_cache shared:one:1m;")
    visit(lb.port("http"), client_context())
    for pid in [lb.master.pid, *[worker.pid for worker in lb.workers]]:
        maps = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path(f"/proc/{pid}/smaps").read_text(), flags=re.MULTILINE)
        rings = [one for one in maps if "lb-ticket-keys" in one]
        assert len(rings) == 1 and all(re.search(r"^VmFlags:.*\bdd\b", one, re.MULTILINE) for one in rings)


@pytest.mark.parametrize("size", [48, 80])
@pytest.mark.parametrize("version", [V12, V13])
def test_two_lb_with_one_key_file(start, run_lb, tmp_path: Path, certificates, size: int, version) -> None:
    key = tmp_path / "key"
    key.write_bytes(os.urandom(size))
    one = start(f"ssl_session_ticket_key {key};")
    two = run_lb(
        CONF.replace("@http@", "@second@"), dir=certificates, settings=f"ssl_session_ticket_key {key};", more=""
    )
    context = client_context(version)
    first = visit(one.port("http"), context)
    again = visit(two.port("second"), context, first.session)
    assert again.resumed
    assert visit(one.port("http"), context, again.session).resumed
    text = openssl(
        *["s_client", "-connect", f"127.0.0.1:{one.port('http')}", "-tls1_2"], text=b"GET / HTTP/1.0\r\n\r\n"
    ).decode(errors="replace")
    shown = re.search(r"0000 - ((?:[0-9a-f]{2}[ -]){16})", text)
    assert shown is not None and bytes.fromhex(shown[1].replace("-", " ")) == key.read_bytes()[:16]


def test_a_key_file_that_changes_is_read_again(start, tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    new.write_bytes(os.urandom(80))
    old.write_bytes(os.urandom(80))
    lb = start(f"ssl_session_ticket_key {new}; ssl_session_ticket_key {old};")
    context = client_context(V12)
    first = visit(lb.port("http"), context)
    pids = {worker.pid for worker in lb.workers}
    lb.expected.append("must be 48 or 80 bytes")
    new.write_bytes(b"half")
    lb.wait_log("the ticket keys stay as they were: .*must be 48 or 80 bytes")
    assert visit(lb.port("http"), context, first.session).resumed
    old.unlink()
    (tmp_path / "next").write_bytes(os.urandom(80))
    # as one rotates: the first becomes the second
    (tmp_path / "kept").write_bytes(os.urandom(80))
    os.replace(tmp_path / "kept", old)
    os.replace(tmp_path / "next", new)
    lb.wait_log("ticket keys read from")
    wait_for(lambda: not visit(lb.port("http"), context, first.session).resumed)
    second = visit(lb.port("http"), context)
    old.write_bytes(new.read_bytes())
    new.write_bytes(os.urandom(48))
    wait_for(lambda: len(re.findall("ticket keys read from", lb.log)) >= 2)
    assert visit(lb.port("http"), context, second.session).resumed
    assert {worker.pid for worker in lb.workers} == pids  # no reload
