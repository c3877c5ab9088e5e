"""The real nginx as an oracle: one process, no daemon, everything in the test's own directory."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.harness.wait import is_listening, wait_for

BINARY = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
STREAM = Path(os.environ.get("NGINX_STREAM_MODULE", "/usr/lib/nginx/modules/ngx_stream_module.so"))


class Nginx:
    """start(text, port): `port` must be listened on when it returns. `text` holds the http{} and stream{} blocks."""

    def __init__(self, directory: Path, binary: str | None = BINARY) -> None:
        self.directory, self.binary = directory, binary
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, text: str, port: int) -> Nginx:
        assert self.binary is not None
        temp = "".join(
            f"{name}_temp_path {self.directory}/{name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        head = (
            f"daemon off; master_process off; pid {self.directory}/nginx.pid; error_log {self.directory}/nginx.log;\n"
        )
        if "stream {" in text:
            head = f"load_module {STREAM};\n{head}"
        text = text.replace("http {", f"http {{ {'' if 'access_log' in text else 'access_log off;'} {temp}", 1)
        file = self.directory / "nginx.conf"
        file.write_text(f"{head}events {{ worker_connections 4096; }}\n{text}\n")
        self.process = subprocess.Popen(
            [self.binary, "-p", f"{self.directory}/", "-c", str(file)], stderr=subprocess.DEVNULL
        )
        wait_for(lambda: is_listening(port), lambda: (self.directory / "nginx.log").read_text())
        return self

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
