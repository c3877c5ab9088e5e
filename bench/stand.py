"""The other side of a measurement, all on the load core: backends, and the tools that make the load.

HTTP backend: nginx with one worker on three ports and on every address of 127/8, 128-byte body at /, 1 MiB file at /1m.
TCP backends: `load serve`, 128 bytes for 128 bytes, and 1 MiB for 128 bytes.
Consul, for the scenario that wants it: the agent of the tests.
Light HTTP backend: `load serve --http=/`, the same 128-byte body.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import consul
import psutil

from bench.machine import LOAD_CORE
from bench.proxies import Proxy, answers, binary, free_port, pin, wait_for
from bench.scenario import Result
from tests.harness.consul import ConsulAgent

LOAD = Path(__file__).resolve().parents[1] / "build/bench/load"
BODY = "x" * 127 + "\\n"

BACKEND = """
daemon off; worker_processes 1; pid @dir@/nginx.pid; error_log @dir@/error.log crit; worker_rlimit_nofile 20000;
events {{ worker_connections 15000; }}
http {{
    access_log off; sendfile on; tcp_nopush on; open_file_cache max=10;
    keepalive_requests 1000000000; keepalive_timeout 600s;
    client_body_temp_path @dir@/tmp; proxy_temp_path @dir@/tmp; fastcgi_temp_path @dir@/tmp;
    uwsgi_temp_path @dir@/tmp; scgi_temp_path @dir@/tmp;
    server {{
        {listens}
        location / {{ return 200 "{body}"; }}
        location = /1m {{ root @dir@; }}
        location = /count {{ stub_status; }}
    }}
}}
"""


@dataclass
class Load:
    """What a load tool saw."""

    requests: int
    per_second: float
    p50_us: float
    p99_us: float
    errors: int
    detail: dict[str, float] = field(default_factory=dict)


class Stand:
    """Backends that run for the whole bench; tools; settings."""

    def __init__(self, directory: Path, seconds: float) -> None:
        self.directory = directory
        self.seconds = seconds
        self.memory: dict[str, object] = {}  # what a scenario wants to keep from run to run
        self.ports: dict[str, int] = {
            name: free_port() for name in ("http1", "http2", "http3", "tcp_small", "tcp_1m", "http_light")
        }
        self._processes: list[subprocess.Popen[bytes]] = []
        self._agent: ConsulAgent | None = None
        self._load_first = False

    def start(self) -> Stand:
        nginx = binary("nginx")
        if nginx is None or shutil.which("wrk") is None:
            raise SystemExit("bench: nginx and wrk are needed as backend and client: .ci/install-packages bench")
        root = self.directory / "backend"
        (root / "tmp").mkdir(parents=True, exist_ok=True)
        root.joinpath("1m").write_bytes(b"x" * (1 << 20))
        listens = " ".join(f"listen 0.0.0.0:{self.ports[n]} backlog=4096;" for n in ("http1", "http2", "http3"))
        text = BACKEND.format(listens=listens, body=BODY).replace("@dir@", str(root))
        (root / "nginx.conf").write_text(text)
        for path in (self.directory, root):
            path.chmod(0o755)  # the worker of nginx is not root
        self._spawn(nginx, "-p", f"{root}/", "-c", str(root / "nginx.conf"))
        self._spawn(str(LOAD), "serve", "--port", str(self.ports["tcp_small"]), "--request=128", "--response=128")
        self._spawn(str(LOAD), "serve", "--port", str(self.ports["tcp_1m"]), "--request=128", f"--response={1 << 20}")
        self._spawn(str(LOAD), "serve", "--port", str(self.ports["http_light"]), "--http=/")
        for name, port in self.ports.items():
            wait_for(lambda port=port: answers(port), f"backend {name} on {port}")
        self.ports["turncoat"] = free_port()  # of a server that its scenario runs itself
        return self

    def _spawn(self, *command: str) -> None:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=pin(LOAD_CORE))
        self._processes.append(process)

    def consul_client(self) -> consul.Consul:
        """A client of the bench's own Consul agent, which is started at the first call."""
        if self._agent is None:
            self._agent = ConsulAgent(self.directory / "consul").start()
            assert self._agent.process is not None
            process = psutil.Process(self._agent.process.pid)
            for thread in process.threads():
                os.sched_setaffinity(thread.id, {LOAD_CORE})
            self.ports["consul"] = self._agent.port
        return consul.Consul(port=self._agent.port)

    @contextlib.contextmanager
    def load_first(self) -> Iterator[None]:
        """Within it load and backends go before whatever else wants their core. PermissionError: needs root."""
        ours = [psutil.Process(process.pid) for process in self._processes]
        pids = [process.pid for one in ours for process in (one, *one.children())]
        for pid in pids:
            os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
        self._load_first = True
        try:
            yield
        finally:
            self._load_first = False
            for pid in pids:
                os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))

    def consul_aside(self) -> None:
        """From now on Consul gets only what others leave of its core: as if it were on another machine."""
        assert self._agent is not None and self._agent.process is not None
        for thread in psutil.Process(self._agent.process.pid).threads():
            os.sched_setscheduler(thread.id, os.SCHED_IDLE, os.sched_param(0))

    def stop(self) -> None:
        if self._agent is not None:
            self._agent.kill()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(10)

    def fill(self, config: str) -> str:
        """Put the backends' addresses into a configuration: @http1@ ... @tcp_1m@ are ports."""
        if "@consul@" in config:
            self.consul_client()
        config = re.sub(r"@certificate-(\w+)@", lambda m: self.certificate(m[1]), config)
        return re.sub(r"@(\w+)@", lambda m: str(self.ports.get(m[1], m[0])), config)

    # --- tools ---

    def wrk(
        self,
        proxy: Proxy,
        *,
        connections: int,
        path: str = "/",
        headers: tuple[str, ...] = (),
        seconds: float = 0,
        scheme: str = "http",
    ) -> Load:
        """Closed loop, HTTP."""
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{round(seconds or self.seconds)}s",
            "--latency",
            "--timeout=10s",
        ]
        command += [f"-H{header}" for header in headers]
        out = self._tool([*command, f"{scheme}://127.0.0.1:{proxy.port}{path}"])
        return parse_wrk(out)

    def h2load(self, proxy: Proxy, *, connections: int, streams: int, path: str = "/", seconds: float = 0) -> Load:
        """Closed loop, HTTP/2 by prior knowledge."""
        if shutil.which("h2load") is None:
            raise RuntimeError("bench: h2load is needed (Debian: nghttp2-client)")
        command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{round(seconds or self.seconds)}"]
        return parse_h2load(self._tool([*command, f"http://127.0.0.1:{proxy.port}{path}"]))

    def drive(self, proxy: Proxy, *arguments: str, connections: int, seconds: float = 0, warm: float = 0) -> Load:
        """bench/load.c: closed loop, or open loop with --rate=."""
        command = [str(LOAD), "drive", f"--port={proxy.port}", f"--connections={connections}"]
        command += [f"--seconds={seconds or self.seconds:g}", f"--warm={warm:g}", *arguments]
        out = json.loads(self._tool(command))
        errors = out["bad_status"] + out["socket_errors"]
        return Load(out["requests"], out["per_second"], out["p50_us"], out["p99_us"], errors, out)

    def tls(self, proxy: Proxy, what: str, *arguments: str, seconds: float = 0) -> Load:
        """bench/tls.c."""
        command = [
            str(LOAD.with_name("tls")),
            what,
            f"--port={proxy.port}",
            f"--seconds={seconds or self.seconds:g}",
            *arguments,
        ]
        out = json.loads(self._tool(command))
        return Load(out["requests"], out["per_second"], out["p50_us"], out["p99_us"], out["errors"], out)

    def certificate(self, kind: str) -> str:
        """A directory with cert.pem, key.pem and both in one (both.pem): `p256` or `rsa`, made once."""
        directory = self.directory / f"certificate-{kind}"
        if not directory.exists():
            directory.mkdir(mode=0o755)
            key = ["-newkey", "rsa:2048"] if kind == "rsa" else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
            command = ["openssl", "req", "-x509", *key, "-nodes", "-days", "30", "-subj", "/CN=localhost"]
            names = [str(directory / name) for name in ("cert.pem", "key.pem")]
            subprocess.run([*command, "-out", names[0], "-keyout", names[1]], check=True, capture_output=True)
            (directory / "both.pem").write_text("".join(Path(name).read_text() for name in names))
        return str(directory)

    def _tool(self, command: list[str]) -> str:
        def place() -> None:
            os.sched_setaffinity(0, {LOAD_CORE})
            if self._load_first:
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))

        done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=place)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
        return done.stdout

    def measure(self, proxy: Proxy, load: object) -> Result:
        """Run `load` (a function that returns a Load) and charge the workers' CPU time to its requests."""
        before = proxy.cpu()
        seen: Load = load()  # type: ignore[operator]
        spent = proxy.cpu().since(before)
        if not seen.requests:
            raise RuntimeError(f"{proxy.label}: no request was answered ({seen.errors} errors)\n{proxy.log()}")
        each = spent.total * 1e6 / seen.requests
        return Result(
            value=each,
            user=each * spent.user_share,
            system=each * (1 - spent.user_share),
            per_second=seen.per_second,
            p50_us=seen.p50_us,
            p99_us=seen.p99_us,
            errors=seen.errors,
            extra=dict(seen.detail),
        )


UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


def parse_h2load(text: str) -> Load:
    """h2load's report: what was not answered with 2xx or 3xx is an error. It has no percentiles but a mean."""
    rate = re.search(r"finished in [\d.]+\w+, ([\d.]+) req/s", text)
    count = re.search(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored", text)
    mean = re.search(r"time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)", text)
    if rate is None or count is None:
        raise RuntimeError(f"h2load said:\n{text}")
    bad = int(count[2]) + int(count[3])
    middle = float(mean[1]) * UNITS[mean[2]] if mean else 0.0
    return Load(int(count[1]), float(rate[1]), middle, 0.0, bad)


def parse_wrk(text: str) -> Load:
    """wrk's report. Errors: answers other than 2xx and 3xx, and socket errors of every kind."""
    requests = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)", text)
    if requests is None:
        raise RuntimeError(f"wrk said:\n{text}")
    seconds = float(requests[2]) * UNITS[requests[3]] / 1e6
    errors = sum(int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    other = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    latency = {m[1]: float(m[2]) * UNITS[m[3]] for m in re.finditer(r"^\s+(\d+)%\s+([\d.]+)(us|ms|s|m)$", text, re.M)}
    count = int(requests[1])
    bad = errors + (int(other[1]) if other else 0)
    return Load(count, count / seconds, latency.get("50", 0.0), latency.get("99", 0.0), bad)
