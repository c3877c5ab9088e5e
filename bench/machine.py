"""What the figures depend on: cores, kernel, versions; and CPU time, read from /proc.

The sum comes from the scheduler (schedstat: nanoseconds); user and system are its parts by the clock ticks of stat.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

WORKER_CORE = 0
LOAD_CORE = 1


@dataclass(frozen=True)
class Cpu:
    """CPU time in seconds."""

    total: float
    user_share: float  # of total
    user_ticks: int
    system_ticks: int

    def since(self, earlier: Cpu) -> Cpu:
        user = self.user_ticks - earlier.user_ticks
        system = self.system_ticks - earlier.system_ticks
        share = user / (user + system) if user + system else 0.0
        return Cpu(self.total - earlier.total, share, user, system)


def cpu_of(pids: list[int]) -> Cpu:
    """What these processes, all their threads, have used so far."""
    total, user, system = 0, 0, 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        user, system = user + int(fields[11]), system + int(fields[12])
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # a thread that ends meanwhile
                total += int((task / "schedstat").read_text().split()[0])
    return Cpu(total / 1e9, 0.0, user, system)


def rss_bytes(pids: list[int]) -> int:
    """Resident memory of these processes, together."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGESIZE")


def _output(*command: str) -> str:
    with contextlib.suppress(OSError):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr).strip()
    return ""


def version(kind: str, binary: str) -> str:
    """The first line that names a version."""
    text = _output(binary, "-v")
    match = re.search(r"(?:nginx/|HAProxy version |lb version: lb/|lb/)?\S*\d+\.\d+\S*", text)
    name = f"{kind} {match[0].rpartition('/')[2].replace('HAProxy version ', '')}" if match else kind
    return f"{name}{_openssl(kind, binary)}"


def _openssl(kind: str, binary: str) -> str:
    """Which OpenSSL it runs with, for scenarios of TLS."""
    text = _output(binary, {"nginx": "-V", "haproxy": "-vv"}.get(kind, "-V"))
    match = re.search(
        r"(?:[Rr]unning (?:with|on OpenSSL version :)|built with|OpenSSL library version :) *(OpenSSL [\d.]+)", text
    )
    return f" ({match[1]})" if match else ""


def describe() -> dict[str, object]:
    """The machine, for the record beside the results."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.*)", info)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": sorted(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "load_average_at_start": os.getloadavg(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not visible",
        "hypervisor": "yes" if "hypervisor" in info else "no",
        "lb_commit": _output("git", "rev-parse", "--short", "HEAD"),
        "lb_changed_files": len(_output("git", "status", "--porcelain", "-uno").splitlines()),
        "lb_build": _read("build/mode"),
    }


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text().strip()
    return ""
