"""The command line against the real nginx: the same exit codes and texts, with lb's name and version."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lb import __version__
from lb.cli import Options, UsageError, parse
from tests.harness.lb import BINARY, environment
from tests.harness.wait import free_port

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
needs_nginx = pytest.mark.skipif(not Path(NGINX).exists(), reason="nginx is not installed")


def run(program: str | Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(program), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=60, check=False)


def as_lb(text: str) -> str:
    """nginx's output as lb should print it."""
    text = re.sub(r"nginx/[\d.]+", f"lb/{__version__}", text)
    return re.sub(r"^nginx(?=:| version)", "lb", text, flags=re.MULTILINE)


class Pair:
    """The same prefix and configuration for both programs, one after the other."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "logs").mkdir()
        self.port = free_port()
        self.file = directory / "one.conf"
        self.log = directory / "logs/error.log"

    def write(self, text: str) -> None:
        main = f"pid {self.directory}/logs/one.pid; error_log {self.log} notice;\n"
        self.file.write_text(main + text.replace("@port@", str(self.port)))

    def run(self, program: str | Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(program, "-p", f"{self.directory}/", "-c", str(self.file), "-e", str(self.log), *arguments)

    def same(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run both; they must agree. Returns lb's result."""
        theirs = self.run(NGINX, *arguments)
        (self.directory / "logs/one.pid").unlink(missing_ok=True)
        ours = self.run(BINARY, *arguments)
        assert ours.returncode == theirs.returncode
        assert ours.stdout == theirs.stdout
        assert ours.stderr == as_lb(theirs.stderr)
        return ours


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


GOOD = "events {}\nhttp { access_log off; server { listen 127.0.0.1:@port@; location / { return 204; } } }\n"


# Switches


@needs_nginx
@pytest.mark.parametrize(
    "arguments",
    [
        ["-v"],
        ["-x"],
        ["-tx"],
        ["-c"],
        ["-p"],
        ["-e"],
        ["-g"],
        ["-s"],
        ["-ts"],
        ["-s", "foo"],
        ["-sfoo"],
        ["-s", ""],
        ["-s", "foo", "-x"],
        ["foo"],
        ["-t", "foo"],
        [""],
    ],
)
def test_switches_as_nginx(arguments: list[str]) -> None:
    theirs, ours = run(NGINX, *arguments), run(BINARY, *arguments)
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)
    said, _, hint = ours.stderr.partition("\n")
    assert f"{said}\n" == as_lb(theirs.stderr)
    assert bool(hint) == ('"-s ' in said and "requires" not in said)  # which signals there are


HERE = "A relative -c that is not there below the default prefix is taken from the working directory, then the prefix."
OWN = ["lb inspect PID | CORE : connections and requests of a worker, of a master's workers, or of a core"]


@needs_nginx
@pytest.mark.parametrize("switch", ["-h", "-?"])
def test_help_has_nginxs_lines(switch: str) -> None:
    """All but the defaults and the width of the name; behind them is what lb alone has."""

    def lines(text: str) -> list[str]:
        return [re.sub(r"\(default: .*\)|\s+", " ", line) for line in text.splitlines()]

    theirs, ours = run(NGINX, switch), run(BINARY, switch)
    assert (ours.returncode, ours.stdout) == (0, "")
    expected = lines(as_lb(theirs.stderr).replace("Usage: nginx", "Usage: lb").rstrip())
    assert lines(ours.stderr)[: len(expected)] == expected
    assert lines(ours.stderr)[len(expected) :] == ["", *OWN, "", HERE, ""]


def test_big_v_tells_with_what_it_was_built() -> None:
    done = run(BINARY, "-V")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith(f"lb version: lb/{__version__}\nbuilt with CPython 3.")
    assert re.search(r"^engine built by (gcc|Clang) \d+\.\d+.*, Cython 3\.\d+\.\d+$", done.stderr, re.MULTILINE)
    assert re.search(r"^extension mode: [a-z]+, flags: -g1 .*-O\d", done.stderr, re.MULTILINE)
    assert re.search(r"^libraries: crossplane \d.*, psutil \d", done.stderr, re.MULTILINE)
    assert "configure arguments: --prefix=/usr/local/lb/ " in done.stderr


def test_a_value_may_follow_its_letter_at_once() -> None:
    assert parse(["-qtcx.conf", "-p", "-t", "-sreload"]) == Options(
        test=True, quiet=True, conf="x.conf", prefix="-t", signal="reload"
    )
    with pytest.raises(UsageError, match='invalid option: "y"'):
        parse(["-ty"])


# -t, -T


@needs_nginx
@pytest.mark.parametrize("arguments", [["-t"], ["-t", "-q"], ["-tv"], ["-T"], ["-Tq"], ["-t", "-s", "stop"]])
def test_good_file(pair: Pair, arguments: list[str]) -> None:
    pair.write(GOOD)
    done = pair.same(*arguments)
    assert done.returncode == 0
    assert (pair.directory / "logs/one.pid").read_text() == ""
    assert pair.log.exists()


@needs_nginx
def test_big_t_prints_each_file_once(pair: Pair) -> None:
    (pair.directory / "inner.conf").write_text("# inner, no newline at the end")
    pair.write("include inner.conf;\ninclude inner.c*;\n" + GOOD)
    done = pair.same("-T")
    assert done.stdout.count("# configuration file") == 2


BAD = "lissten 1;\n" + GOOD


def bad_file(pair: Pair, text: str, *arguments: str) -> tuple[list[str], list[str]]:
    """What both say about it, as lines; both must refuse it, and say the same first."""
    pair.write(text)
    theirs, ours = pair.run(NGINX, *arguments), pair.run(BINARY, *arguments)
    assert (theirs.returncode, ours.returncode, ours.stdout) == (1, 1, "")
    expected, got = as_lb(theirs.stderr).splitlines(), ours.stderr.splitlines()
    assert got[0] == expected[0]
    return expected, got


@needs_nginx
@pytest.mark.parametrize(
    "text",
    [
        BAD,
        "events {}\nhttp { server { listen 127.0.0.1:1; location / { return 200\n",
        "events {}\nhttp { server { listen 127.0.0.1:1; return; } }\n",
        "events {}\nproxy_pass http://127.0.0.1;\n",
        "events {}\nhttp { upstream a { } }\n",
        "worker_processes 2; worker_processes 3;\n" + GOOD,
    ],
)
def test_bad_file_begins_and_ends_as_nginx(pair: Pair, text: str) -> None:
    """lb may say more between the two lines: other errors, hints."""
    expected, got = bad_file(pair, text, "-t")
    assert got[-1] == expected[-1]
    message = re.escape(got[0].removeprefix("lb: [emerg] "))
    assert re.search(rf"\d\d:\d\d:\d\d \[emerg\] \d+#0: {message}$", pair.log.read_text(), re.MULTILINE)


@needs_nginx
@pytest.mark.parametrize("arguments", [["-tq"], [], ["-s", "reload"]])
def test_bad_file_with_other_switches(pair: Pair, arguments: list[str]) -> None:
    expected, got = bad_file(pair, BAD, *arguments)
    assert ("test failed" in got[-1]) == ("test failed" in expected[-1])


@needs_nginx
@pytest.mark.parametrize(
    "arguments", [["-t", "-c", "/nonexistent/x.conf"], ["-t", "-c", "none.conf"], ["-t", "-g", "foo on;"]]
)
def test_errors_outside_the_file(pair: Pair, arguments: list[str]) -> None:
    pair.write(GOOD)
    pair.same(*arguments)


@needs_nginx
@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("127.0.0.1:@port@", "192.0.2.77:@port@"),  # TEST-NET: no address of this machine
        "pid /nonexistent/x.pid;\n" + GOOD,
        "error_log /nonexistent/x.log;\n" + GOOD,
    ],
)
def test_what_only_the_start_would_show(pair: Pair, text: str) -> None:
    """-t finds an address that cannot be bound, a pid file and a log that cannot be opened."""
    pair.file.write_text(f"error_log {pair.log};\n" + text.replace("@port@", str(pair.port)))
    done = pair.same("-t")
    assert done.returncode == 1


def test_t_leaves_running_listeners_alone(run_lb, tmp_path: Path) -> None:
    """An address in use is no error of -t, and a unix socket in use keeps its file."""
    path = tmp_path / "s"
    lb = run_lb(f"http {{ access_log off; server {{ listen 127.0.0.1:@http@; listen unix:{path}; return 204; }} }}")
    done = lb.command("-t")
    assert (done.returncode, done.stderr.count("emerg")) == (0, 0)
    assert path.is_socket()
    assert lb.client().request(target="/").status == 204


# -s


@needs_nginx
@pytest.mark.parametrize("content", [None, "", "abc\n", "-5\n", "999999999\n", "99999999999999999999\n"])
def test_signal_without_a_master(pair: Pair, content: str | None) -> None:
    pair.write(GOOD)
    file = pair.directory / "logs/one.pid"
    results = []
    for program in (NGINX, BINARY):
        if content is not None:
            file.write_text(content)
        results.append(pair.run(program, "-s", "stop"))
    theirs, ours = results
    assert (ours.returncode, ours.stderr) == (1, as_lb(theirs.stderr))
    assert "[notice] " in pair.log.read_text()


def test_pid_0_is_not_signalled(pair: Pair) -> None:
    """kill(0) would reach the caller's whole process group (nginx does it)."""
    pair.write(GOOD)
    (pair.directory / "logs/one.pid").write_text("0\n")
    done = pair.run(BINARY, "-s", "stop")
    assert (done.returncode, done.stderr) == (
        1,
        f'lb: [error] invalid PID number "0" in "{pair.directory}/logs/one.pid"\n',
    )


def test_g_is_used(pair: Pair) -> None:
    pair.write(GOOD)
    done = pair.run(BINARY, "-t", "-g", f"pid {pair.directory}/other.pid;")
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        1,
        f'lb: [emerg] "pid" directive is duplicate in {pair.file}:1',
    )


def test_relative_prefix_and_conf(tmp_path: Path) -> None:
    """-c is relative to the prefix, the prefix to the current directory."""
    (tmp_path / "a/logs").mkdir(parents=True)
    (tmp_path / "a/b.conf").write_text("events {}\n")
    done = run(BINARY, "-t", "-p", "a", "-c", "b.conf", cwd=tmp_path)
    assert done.stderr.splitlines()[-1] == f"lb: configuration file {tmp_path}/a/b.conf test is successful"


def test_e_gives_way_to_an_explicit_error_log(tmp_path: Path) -> None:
    """Even to one that names the default file; without one, -e is where errors go."""
    (tmp_path / "logs").mkdir()
    file = tmp_path / "one.conf"
    for line, used in (("error_log logs/error.log error;", "logs/error.log"), ("", "e.log")):
        file.write_text(f"{line}\npid logs/lb.pid;\n" + GOOD.replace("127.0.0.1:@port@", "192.0.2.77:80"))
        done = run(BINARY, "-p", f"{tmp_path}/", "-c", str(file), "-e", "e.log")
        assert done.returncode == 1
        assert "bind() to 192.0.2.77:80 failed" in (tmp_path / used).read_text()
        for log in ("logs/error.log", "e.log"):
            (tmp_path / log).unlink(missing_ok=True)


def test_errors_show_the_place(tmp_path: Path) -> None:
    """All errors of a run, each with its line and a caret below the word."""
    file = tmp_path / "one.conf"
    file.write_text(
        "events {}\nhttp {\n\tlissten 80;\n    server { listen 127.0.0.1:1;\n"
        "        location / { proxy_set_header\n            X\n            $nosuchvar; } }\n}\n"
    )
    done = run(BINARY, "-t", "-p", f"{tmp_path}/", "-c", str(file), "-e", "stderr")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    first = lines.index(f'lb: [emerg] unknown directive "lissten" in {file}:3')
    assert lines[first + 1 : first + 3] == ["    lissten 80;", "    ^"]
    second = next(i for i, line in enumerate(lines) if 'unknown "nosuchvar" variable' in line)
    assert lines[second + 1 : second + 3] == ["    $nosuchvar; } }", "     ^"]


def test_errors_show_no_token(tmp_path: Path) -> None:
    file = tmp_path / "one.conf"
    file.write_text("events {}\nhttp { upstream u { upsync 127.0.0.1/v1/kv/u?recurse&token=secret upsync_type=x; } }\n")
    done = run(BINARY, "-t", "-p", f"{tmp_path}/", "-c", str(file), "-e", "stderr")
    assert done.returncode == 1
    assert "upsync_type invalid para" in done.stderr and "token=***" in done.stderr
    assert "secret" not in done.stdout + done.stderr


def test_warns_of_what_is_legal_and_dangerous(tmp_path: Path) -> None:
    """The file is good all the same."""
    (tmp_path / "logs").mkdir()
    file = tmp_path / "one.conf"
    file.write_text(
        "worker_rlimit_nofile 100;\nevents { worker_connections 4096; }\nhttp { access_log off; upstream u { server "
        "127.0.0.1:1; upsync 127.0.0.1:1/v1/kv/u upsync_type=consul strong_dependency=on; }\n"
        "server { listen 127.0.0.1:1; location / { proxy_pass http://u; } } }\n"
    )
    done = run(BINARY, "-t", "-p", f"{tmp_path}/", "-c", str(file))
    assert done.returncode == 0
    assert "lb: [warn] 4096 worker_connections exceed open file resource limit: 100\n" in done.stderr
    assert 'lb: [warn] upstream "u" depends on Consul and names no "upsync_dump_path": ' in done.stderr
