"""The shipped units under a real systemd: PID 1 of namespaces of its own, with nothing but lb's units to look after.

What differs from a booted machine: the paths of the command (a drop-in), no other units, cgroup v2 without controllers
(so no limits of memory or tasks), /etc/lb, /var/lib and /var/log on tmpfs. Everything else in the unit holds,
DynamicUser, seccomp and the file system's protection included.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.harness.client import Client
from tests.harness.lb import BINARY, ROOT
from tests.harness.wait import free_port, wait_for

SYSTEMD = "/lib/systemd/systemd"
TARGETS = "sysinit basic shutdown umount local-fs network-online nss-lookup sockets multi-user"
BOOT = """#!/bin/sh
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run -o mode=755
umount -R -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for one in /etc/lb /var/lib /var/log; do mount -t tmpfs tmpfs $one -o mode=755; done
cp @units@/lb.conf /etc/lb/
exec env -i container=test SYSTEMD_UNIT_PATH=@units@ PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
    {systemd} --system --unit=multi-user.target --log-target=null --show-status=no
""".replace("{systemd}", SYSTEMD)
CONF = """
worker_processes 2;
error_log logs/error.log info;
pid logs/lb.pid;
events {}
http { access_log off; server { listen 127.0.0.1:@port@; return 200 "one"; } }
"""


def can_boot() -> str:
    """Why there is no systemd to be had here; "": there is one."""
    if os.geteuid() != 0:
        return "needs root"
    if not os.path.exists(SYSTEMD) or not shutil.which("unshare") or not shutil.which("nsenter"):
        return "needs systemd, unshare and nsenter"
    if subprocess.run(["unshare", "--pid", "--fork", "--mount", "--cgroup", "true"], capture_output=True).returncode:
        return "no namespaces here"
    return ""


WHY_NOT = can_boot()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


class Systemd:
    """A systemd of the test's own. `run` runs a command inside; units lie in `units`."""

    def __init__(self, directory: Path, port: int) -> None:
        self.units = directory / "units"
        self.units.mkdir()
        for name in TARGETS.split():
            (self.units / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
        for name in ("lb.service", "lb.socket"):
            shutil.copy(ROOT / "systemd" / name, self.units)
        self._drop_in()
        (self.units / "lb.conf").write_text(CONF.replace("@port@", str(port)))
        boot = directory / "boot"
        boot.write_text(BOOT.replace("@units@", str(self.units)))
        boot.chmod(0o755)
        self.made = [path for path in ("/etc/lb",) if not os.path.isdir(path)]
        for path in self.made:
            os.mkdir(path)
        options = ["--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--cgroup", "--mount-proc"]
        self.outer = subprocess.Popen(
            ["unshare", *options, str(boot)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.pid = 0

    def _drop_in(self) -> None:
        """The command of this tree. Its interpreter may lie where ProtectHome hides it."""
        text = (ROOT / "systemd/lb.service").read_text().replace("/opt/lb/bin/lb", str(BINARY))
        commands = [one for one in text.splitlines() if one.startswith(("ExecStart=", "ExecReload="))]
        places = {str(ROOT), str(Path(sys.base_prefix)), str(Path(os.path.realpath(sys.executable)).parents[1])}
        directory = self.units / "lb.service.d"
        directory.mkdir()
        (directory / "here.conf").write_text(
            "[Service]\nExecStart=\nExecReload=\n"
            + "\n".join(commands)
            + f"\nProtectHome=tmpfs\nBindReadOnlyPaths={' '.join(sorted(places))}\n"
        )

    def wait_up(self) -> None:
        children = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children")
        wait_for(lambda: children.read_text().split(), "the child of unshare")
        self.pid = int(children.read_text().split()[0])
        wait_for(lambda: self.run("systemctl is-system-running").stdout.strip() in ("running", "degraded"), "systemd")
        self.run("ip link set lo up")

    def run(self, command: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        inside = ["nsenter", "-t", str(self.pid), "-m", "-p", "-i", "-u", "-C", "sh", "-c", command]
        return subprocess.run(inside, capture_output=True, text=True, timeout=60, check=check)

    def show(self, name: str, unit: str = "lb") -> str:
        return self.run(f"systemctl show {unit} -p {name} --value").stdout.strip()

    def workers(self) -> set[str]:
        """The pids of every worker there is."""
        return set(self.run("pgrep -f '^lb: worker process'").stdout.split())

    def log(self) -> str:
        return self.run("cat /var/lib/private/lb/logs/error.log").stdout + self.run("systemctl status lb").stdout

    def end(self) -> None:
        if self.pid:
            self.run("systemctl stop lb lb.socket")
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)  # and with PID 1 everything in its namespace
        self.outer.kill()
        self.outer.wait(60)
        for path in self.made:
            os.rmdir(path)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def systemd(tmp_path, port):
    for directory in (tmp_path, *tmp_path.parents[:3]):
        directory.chmod(0o755)
    made = Systemd(tmp_path, port)
    try:
        made.wait_up()
        yield made
    finally:
        made.end()


def ask(port: int) -> bytes:
    with Client(port) as client:
        return client.request().body


def test_the_service(systemd, port):
    """start, reload, a bad file, a killed master, a restart, a stuck master: with the unit as it is shipped."""
    started = systemd.run("systemctl start lb")
    assert started.returncode == 0, started.stderr + systemd.log()
    assert ask(port) == b"one"
    wait_for(lambda: systemd.show("StatusText").startswith("2 workers"), systemd.log)
    wait_for(lambda: systemd.show("NFileDescriptorStore") == "1", systemd.log)

    assert systemd.run("systemctl reload lb").returncode == 0
    wait_for(lambda: len(re.findall(r"exited with code 0", systemd.log())) == 2, systemd.log)
    assert systemd.show("ActiveState") == "active" and ask(port) == b"one"

    assert systemd.run("echo 'bogus;' >> /etc/lb/lb.conf; systemctl reload lb").returncode == 1
    systemd.run("sed -i /bogus/d /etc/lb/lb.conf")
    assert systemd.show("ActiveState") == "active" and ask(port) == b"one"

    for command in ("kill -9 $(systemctl show lb -p MainPID --value)", "systemctl restart lb"):
        before = systemd.show("MainPID")
        workers = systemd.workers()
        worker = subprocess.Popen(["nsenter", "-t", str(systemd.pid), "-m", "-p", "-C", "sh", "-c", command])
        deadline = time.monotonic() + 30
        while systemd.show("MainPID") in ("0", before) or systemd.show("ActiveState") != "active":
            assert ask(port) == b"one"  # it waits in the kept socket's backlog: nobody is refused
            assert time.monotonic() < deadline, systemd.log()
        assert worker.wait(30) == 0
        assert ask(port) == b"one"
        # The unit is ended as a group: nobody of the old one is left on the port.
        wait_for(lambda: systemd.show("StatusText").startswith("2 workers"), systemd.log)
        assert len(systemd.workers()) == 2 and not systemd.workers() & workers
        if command.startswith("kill"):
            assert systemd.show("NRestarts") == "1"  # by itself
    assert "Address already in use" not in systemd.log()


def test_socket_activation(systemd, port):
    """systemd listens first; the first client starts lb, which takes the socket."""
    socket_unit = systemd.units / "lb.socket"
    socket_unit.write_text(socket_unit.read_text().replace("0.0.0.0:80", f"127.0.0.1:{port}"))
    systemd.run("systemctl daemon-reload && systemctl start lb.socket", check=True)
    assert systemd.show("ActiveState") == "inactive"
    assert ask(port) == b"one"
    wait_for(lambda: systemd.show("ActiveState") == "active", systemd.log)
    assert "Address already in use" not in systemd.log()
    assert systemd.show("NRestarts") == "0"
