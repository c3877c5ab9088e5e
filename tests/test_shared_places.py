"""Places on the disk that somebody else may have been at first: dump files in /tmp, and directories for bodies."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lb import trusted
from lb.upsync import dump
from tests.harness.backend import Reply
from tests.harness.lb import BINARY
from tests.harness.wait import free_port, wait_for
from tests.test_cli import run

OTHER = 12345  # a user
LINE = "server 127.0.0.1:{} weight=1 max_fails=1 fail_timeout=10s;\n"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def place(tmp_path):
    """As /tmp."""
    made = tmp_path / "shared"
    made.mkdir()
    made.chmod(0o1777)
    return made


def planted(place, *, owner=0, group=0, mode=0o644):
    path = place / "dump"
    path.write_text(LINE.format(1))
    path.chmod(mode)
    os.chown(path, owner, group)
    return str(path)


@needs_root
@pytest.mark.parametrize(
    ("made", "why"),
    [
        ({"owner": OTHER}, "it belongs to user 12345: only files of root and of the master's user are read"),
        ({"mode": 0o646}, r"anybody may write to it \(mode 0646\)"),
        ({"mode": 0o666}, "anybody may write to it"),
        ({"mode": 0o664, "group": OTHER}, r"group 12345 may write to it \(mode 0664\)"),
    ],
)
def test_a_dump_that_others_can_have_written_is_refused(place, made, why):
    path = planted(place, **made)
    with pytest.raises(dump.DumpError, match=f"^{path}: {why}"):
        dump.read(path)


@needs_root
@pytest.mark.parametrize("made", [{}, {"mode": 0o600}, {"mode": 0o664}, {"group": OTHER}])
def test_a_dump_of_our_own_is_read(place, made):
    assert len(dump.read(planted(place, **made))) == 1


@needs_root
def test_the_link_of_another_user_is_not_followed(place, tmp_path):
    """Else he could have the first line of any file of root's in the log, or one upstream's servers in another."""
    (tmp_path / "mine").write_text(LINE.format(1))
    link = place / "dump"
    link.symlink_to(tmp_path / "mine")
    assert len(dump.read(str(link))) == 1
    os.lchown(link, OTHER, OTHER)
    with pytest.raises(dump.DumpError, match="a link of user 12345: neither root's nor ours"):
        dump.read(str(link))


def test_links_end_somewhere(place):
    (place / "a").symlink_to("b")
    (place / "b").symlink_to("a")
    (place / "self").symlink_to("self")
    for name in ("a", "self"):
        with pytest.raises(dump.DumpError, match="Too many levels of symbolic links"):
            dump.read(str(place / name))
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            dump.replace(str(place / name), b"x\n")
        assert (place / name).is_symlink(), "it was replaced"


def test_a_link_to_a_file_that_is_not_there_yet(place):
    (place / "dump").symlink_to("deeper/there")
    with pytest.raises(FileNotFoundError):
        dump.read(str(place / "dump"))
    (place / "deeper").mkdir()
    dump.replace(str(place / "dump"), LINE.format(1).encode())
    assert (place / "dump").is_symlink() and (place / "deeper/there").read_text() == LINE.format(1)


def test_a_fifo_holds_nobody_up(place):
    os.mkfifo(place / "dump")
    with pytest.raises(dump.DumpError, match="empty or cut off"):
        dump.read(str(place / "dump"))


@needs_root
def test_what_is_swapped_in_between_is_what_is_looked_at(place, monkeypatch):
    """A name that becomes a link after it was looked at is looked at again."""
    (place / "dump").write_text(LINE.format(1))
    (place / "secret").write_text("secret\n")
    first = os.open
    swapped = []

    def late(path, flags, *rest, **more):
        if str(path).endswith("dump") and not flags & os.O_PATH and not swapped:
            swapped.append(path)
            (place / "dump").unlink()
            (place / "dump").symlink_to("secret")
            os.lchown(place / "dump", OTHER, OTHER)
        return first(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", late)
    with pytest.raises(trusted.Untrusted):
        trusted.open_to_read(str(place / "dump"))
    assert swapped


UPSYNC = """
http {{
    access_log off;
    upstream u {{
        server 127.0.0.1:{own};
        upsync 127.0.0.1:{consul}/v1/kv/u upsync_type=consul upsync_timeout=1s strong_dependency=off;
        upsync_dump_path {dump};
    }}
    server {{ listen 127.0.0.1:@http@; location / {{ proxy_pass http://u; }} location /show {{ upstream_show; }} }}
}}
"""


@needs_root
@pytest.mark.parametrize("owner", [0, OTHER])
def test_a_start_without_consul(owner, place, run_lb, connect):
    """lb's own dump in a shared directory is served, a planted one is not, and the log says so."""
    path = planted(place, owner=owner)
    own = free_port()
    lb = run_lb(UPSYNC.format(own=own, consul=free_port(), dump=path))
    shown = connect(lb.port("http")).request("GET", "/show").body.decode()
    assert (":1 weight" in shown, f":{own} weight" in shown) == (owner == 0, owner != 0)
    said = f'upstream "u": dump refused: {path}: it belongs to user {OTHER}'
    assert (said in lb.log) == (owner != 0)


# lb -t


def check(file, text):
    file.write_text(f"pid {file.parent}/t.pid; error_log stderr;\nevents {{ }}\n" + text)
    return run(BINARY, "-t", "-p", f"{file.parent}/", "-c", str(file))


def test_a_test_warns_about_a_shared_directory(place, tmp_path):
    text = UPSYNC.replace("@http@", str(free_port()))
    done = check(tmp_path / "t.conf", text.format(own=1, consul=1, dump=place / "dump"))
    assert done.returncode == 0, done.stderr
    assert f'[warn] the dump file "{place}/dump" is in a directory where everybody may write: ' in done.stderr
    assert f"{tmp_path}/t.conf:8" in done.stderr
    done = check(tmp_path / "t.conf", text.format(own=1, consul=1, dump=tmp_path / "dump"))
    assert "everybody may write" not in done.stderr


@needs_root
def test_a_test_says_that_a_dump_would_not_be_used(place, tmp_path):
    path = planted(place, owner=OTHER)
    text = UPSYNC.replace("@http@", str(free_port()))
    done = check(tmp_path / "t.conf", text.format(own=1, consul=1, dump=path))
    assert f"a start without Consul would not use the dump: {path}: it belongs to user {OTHER}" in done.stderr


# Directories for bodies

NESTED = """
http {
    access_log off;
    client_body_buffer_size 1k;
    client_body_temp_path @directory@/outer;
    server {
        listen 127.0.0.1:@http@;
        location /a {
            location /a/b { client_body_temp_path @directory@/nested; proxy_pass http://@backend@; }
            if ($arg_x) { proxy_pass http://@backend@; }
            return 404;
        }
        location /if {
            client_body_temp_path @directory@/implicit;
            if ($arg_x) { proxy_pass http://@backend@; }
        }
        location /except {
            client_body_temp_path @directory@/excepted;
            limit_except GET { proxy_pass http://@backend@; }
        }
        location /plain { proxy_pass http://@backend@; }
    }
}
"""
BODY = b"0123456789" * 20_000


@pytest.fixture
def room(tmp_path):
    """A directory that workers reach."""
    made = tmp_path / "room"
    made.mkdir()
    for one in (made, *made.parents):
        if one.is_relative_to("/tmp") and one != Path("/tmp"):
            one.chmod(0o755)
    return made


@pytest.mark.parametrize(
    ("target", "directory"),
    [("/a/b", "nested"), ("/if?x=1", "implicit"), ("/except", "excepted"), ("/plain", "outer")],
)
def test_every_place_has_its_directory(target, directory, room, run_lb, http_backend, connect):
    lb = run_lb(NESTED, directory=room, backend=http_backend(lambda request: Reply(200, body=request.body)).address)
    assert connect(lb.port("http")).request("POST", target, body=BODY).body == BODY
    assert stat.S_IMODE((room / directory).stat().st_mode) == 0o700


@needs_root
@pytest.mark.parametrize("mode", [0o700, 0o500, 0o000, 0o755])
def test_the_directory_of_another_user_is_taken_over(mode, room, run_lb, http_backend, connect):
    """As nginx: owner, and its rights; what others may is left as it is."""
    (room / "outer").mkdir()
    (room / "outer").chmod(mode)
    os.chown(room / "outer", OTHER, OTHER)
    lb = run_lb(NESTED, directory=room, backend=http_backend(lambda request: Reply(200, body=request.body)).address)
    assert connect(lb.port("http")).request("POST", "/plain", body=BODY).body == BODY
    status = (room / "outer").stat()
    worker = lb.workers()[0] if callable(lb.workers) else lb.workers[0]
    assert status.st_uid == Path(f"/proc/{getattr(worker, 'pid', worker)}").stat().st_uid
    assert (status.st_gid, stat.S_IMODE(status.st_mode)) == (OTHER, mode | 0o700)


@needs_root
def test_a_shared_directory_and_a_link_are_left_alone(room, run_lb, http_backend, connect):
    (room / "outer").mkdir()
    (room / "outer").chmod(0o1777)
    (room / "precious").mkdir()
    (room / "nested").symlink_to("precious")
    os.lchown(room / "nested", OTHER, OTHER)
    lb = run_lb(NESTED, directory=room, backend=http_backend(lambda request: Reply(200, body=request.body)).address)
    assert connect(lb.port("http")).request("POST", "/plain", body=BODY).body == BODY
    assert (room / "outer").stat().st_uid == 0
    assert (room / "precious").stat().st_uid == 0
    wait_for(lambda: f'"{room}/nested" is not used: a link of user {OTHER}' in lb.log)
    assert connect(lb.port("http")).request("POST", "/a/b", body=BODY).status == 500
    lb.expect_log("open\\(\\) of a temporary file failed")


@needs_root
def test_a_test_says_where_a_worker_could_not_write(room, tmp_path):
    (room / "closed").mkdir(mode=0o700)
    text = NESTED.replace("@http@", str(free_port())).replace("@backend@", "127.0.0.1:1")
    text = text.replace("@directory@/nested", f"{room}/closed/nested")
    text = text.replace("@directory@/implicit", f"{room}/none/implicit").replace("@directory@", str(room))
    done = check(tmp_path / "t.conf", text)
    assert done.returncode == 0, done.stderr
    warned = [line for line in done.stderr.splitlines() if "[warn]" in line]
    assert len(warned) == 2, warned
    assert f'"{room}/closed/nested": a larger body would get 500' in done.stderr
    assert f'mkdir() "{room}/none/implicit" failed (2: No such file or directory)' in done.stderr
