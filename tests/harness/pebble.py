"""Pebble, the ACME server of Let's Encrypt's tests: it asks for the challenges, over loopback (`make pebble`)."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import urllib.request
from pathlib import Path

from tests.certificates import Pair, make
from tests.harness.wait import free_port, wait_for

BIN = Path(__file__).resolve().parents[2] / ".venv/bin"


class Pebble:
    """`http_port` and `tls_port` are where it looks for challenges; every name is 127.0.0.1."""

    def __init__(self, directory: Path, http_port: int, tls_port: int, **settings: object) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.pair: Pair = make(directory, "pebble", "localhost")
        self.port, self.management, self.dns = free_port(), free_port(), free_port()
        self.config = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management}",
            "certificate": str(self.pair.pem),
            "privateKey": str(self.pair.key),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            **settings,
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self.env: dict[str, str] = {}

    @property
    def uri(self) -> str:
        return f"https://localhost:{self.port}/dir"

    @property
    def log(self) -> str:
        return (self.directory / "pebble.log").read_text("utf-8", "replace")

    def start(self) -> Pebble:
        file = self.directory / "pebble.json"
        file.write_text(json.dumps({"pebble": self.config}))
        names = ["-dns01", f"127.0.0.1:{self.dns}", "-defaultIPv6", "", "-management", f"127.0.0.1:{free_port()}"]
        self._run("pebble-challtestsrv", *names, "-http01", "", "-https01", "", "-tlsalpn01", "")
        self._run("pebble", "-config", str(file), "-dnsserver", f"127.0.0.1:{self.dns}")
        wait_for(lambda: self._answers("dir", self.port), "pebble")
        return self

    def _run(self, name: str, *arguments: str) -> None:
        env = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "10", "PEBBLE_AUTHZREUSE": "0", **self.env}
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes.append(
                subprocess.Popen([str(BIN / name), *arguments], stdout=log, stderr=log, env={**os.environ, **env})
            )

    def _answers(self, path: str, port: int) -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with urllib.request.urlopen(f"https://127.0.0.1:{port}/{path}", timeout=10, context=context) as answer:
                found: bytes = answer.read()
        except OSError:
            return b""
        return found

    def root(self) -> str:
        """The authority that issues, PEM: another with each start."""
        return self._answers("roots/0", self.management).decode()

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
            process.wait(30)
        self.processes = []
