"""What a newcomer types and brings: README's command, other words for switches, files that ask for nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest

from lb.config import load, table, table_nothing
from tests.harness.lb import BINARY, environment

ROOT = Path(__file__).parent.parent
DEBIAN = Path("/etc/nginx/nginx.conf")


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(BINARY), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=60, check=False)


def said_of(directory: Path, text: str) -> str:
    """What -t says of a file; "" when it is accepted without a word."""
    (directory / "one.conf").write_text(text)
    done = run("-t", "-q", "-c", "one.conf", cwd=directory)
    assert (done.returncode == 0) == ("[emerg]" not in done.stderr)
    return done.stderr


def test_the_readmes_command(tmp_path: Path) -> None:
    """Word for word, where a clone is; logs/ is made, nothing else need be there."""
    assert ".venv/bin/lb -t -c conf/lb.conf" in (ROOT / "README.md").read_text()
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    done = run("-t", "-c", "conf/lb.conf", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"configuration file {tmp_path}/conf/lb.conf test is successful" in done.stderr
    assert (tmp_path / "logs").is_dir()


def test_a_file_that_is_nowhere(tmp_path: Path) -> None:
    done = run("-t", "-c", "nowhere.conf", cwd=tmp_path)
    assert done.returncode == 1 and 'open() "/usr/local/lb/nowhere.conf" failed' in done.stderr


@pytest.mark.parametrize("words", [["--help"], ["help"], ["-h"]])
def test_help(tmp_path: Path, words: list[str]) -> None:
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 0 and "Usage: lb" in done.stderr


@pytest.mark.parametrize("words", [["--version"], ["version"]])
def test_version(tmp_path: Path, words: list[str]) -> None:
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr.startswith("lb version: lb/") and "Usage" not in done.stderr


def test_signals_that_are_none(tmp_path: Path) -> None:
    done = run("-s", "restart", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith('lb: invalid option: "-s restart"\n-s reload takes a new configuration')
    assert "stop, quit, reopen, reload" in run("-s", "hup", cwd=tmp_path).stderr


@pytest.mark.parametrize(
    "line",
    [
        "pcre_jit on;",
        "lock_file /run/lock;",
        "timer_resolution 100ms;",
        "thread_pool default threads=32 max_queue=65536;",
        "master_process on;",
        "load_module modules/ngx_stream_module.so;",
        "env TZ;",
        "worker_cpu_affinity auto;",
    ],
)
def test_main_lines_that_change_nothing(tmp_path: Path, line: str) -> None:
    assert said_of(tmp_path, f"{line} events {{ use epoll; multi_accept on; accept_mutex off; }}") == ""


@pytest.mark.parametrize(
    "line",
    [
        "aio threads=default;",
        "directio 4m; directio_alignment 4k;",
        "output_buffers 2 32k; postpone_output 1460;",
        "map_hash_bucket_size 128; variables_hash_max_size 2048; proxy_headers_hash_max_size 1024;",
        "proxy_cache off; proxy_cache_path /var/cache levels=1:2 keys_zone=c:10m; proxy_cache_valid 200 10m;",
        "fastcgi_buffers 8 16k; fastcgi_param HTTP_PROXY ''; fastcgi_read_timeout 300;",
        "charset off; gunzip off; slice 0;",
    ],
)
def test_http_lines_that_change_nothing(tmp_path: Path, line: str) -> None:
    assert said_of(tmp_path, f"events {{}} http {{ {line} }}") == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("aio maybe;", "invalid value in"),
        ("output_buffers 0 32k;", '"output_buffers" directive invalid value'),
        ("charset koi8-r;", 'unknown directive "charset"'),
        ("slice 1m;", 'unknown directive "slice"'),
        ("directio never;", '"directio" directive invalid value'),
        ("fastcgi_buffers 8;", 'invalid number of arguments in "fastcgi_buffers" directive'),
        ("server { location / { fastcgi_read_timeout 3s; fastcgi_pass 127.0.0.1:9; } }", '"fastcgi_pass"'),
    ],
)
def test_lines_that_ask_for_more(tmp_path: Path, line: str, said: str) -> None:
    """One refusal for each, and none for what only belongs to it."""
    told = said_of(tmp_path, f"events {{}}\nhttp {{\n{line}\n}}")
    assert said in told and told.count("[emerg]") == 1 and "one.conf:3" in told


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("keepalive_timeout 30sec;", '"30sec" is written 30s'),
        ("client_max_body_size 10MB;", '"10MB" is written 10m'),
        ("upstream u { server 127.0.0.1:1 fail_timeout=2min; }", '"fail_timeout=2min" is written 2m'),
        ("server {\nlisten 127.0.0.1:1\nserver_name a; }", 'is the ";" of "listen" missing at the end of line 4?'),
        ("root /srv\naccess_log off;", 'is the ";" of "root" missing at the end of line 3?'),
    ],
)
def test_slips_of_the_pen(tmp_path: Path, line: str, hint: str) -> None:
    assert f"\n{hint}\n" in said_of(tmp_path, f"events {{}}\nhttp {{\n{line}\n}}")


def test_a_word_that_only_looks_like_a_directive(tmp_path: Path) -> None:
    told = said_of(tmp_path, "events {}\nhttp {\nproxy_next_upstream error\ntimeout never; }")
    assert "[emerg]" in told and "missing" not in told


def test_a_module_that_is_not_built_in(tmp_path: Path) -> None:
    told = said_of(tmp_path, "load_module modules/ngx_http_geoip_module.so;\nevents {}")
    assert '[warn] module "modules/ngx_http_geoip_module.so" is not loaded' in told and "one.conf:1" in told


@pytest.mark.skipif(not DEBIAN.exists(), reason="Debian's nginx is not installed")
def test_debians_own_file(tmp_path: Path) -> None:
    """Untouched; read only, for its logs and its pid file are not ours."""
    config = load(str(DEBIAN), prefix=str(tmp_path))
    assert config.pid == "/run/nginx.pid" and len(config.files) > 1


def test_no_entry_hides_a_real_one() -> None:
    """A directive that lb has now gives its entry in the table of those that ask for nothing up."""
    real = {entry.name for entry in table.DIRECTIVES if entry not in table_nothing.DIRECTIVES}
    assert not real & {entry.name for entry in table_nothing.DIRECTIVES}


PROCESS = """
worker_processes 2;
worker_cpu_affinity {mask};
worker_priority 3;
worker_rlimit_core 4096;
working_directory {directory};
env LB_TEST_WORD=hello;
http {{ server {{ listen 127.0.0.1:@http@; return 200 one; }} }}
"""


def test_a_worker_as_a_process(run_lb, tmp_path: Path) -> None:
    """Its CPUs, nice value, core limit, directory and environment; the master keeps its own."""
    cpu = min(os.sched_getaffinity(0))
    tmp_path.chmod(0o755)
    lb = run_lb(PROCESS.format(mask=format(1 << cpu, "b"), directory=tmp_path))
    assert len(lb.workers) == 2
    for worker in lb.workers:
        assert worker.cpu_affinity() == [cpu]
        assert worker.nice() == psutil.Process().nice() + 3 or worker.nice() == 3
        limits = Path(f"/proc/{worker.pid}/limits").read_text()
        assert re.search(r"^Max core file size +4096 +4096 ", limits, re.MULTILINE)
        assert worker.cwd() == str(tmp_path)
    assert lb.log.count(f"sched_setaffinity(): using cpu #{cpu}") == 2
    assert psutil.Process(lb.master.pid).nice() != 3
