"""The demo from start to end: backends, Consul if asked for, lb, a page of what to try; all of it ends on Ctrl-C."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

from lb.demo import agent
from lb.demo.children import ChildError, Children, is_free, is_listening

BACKENDS: Final = (9001, 9002, 9003)
HTTP, STATUS, TCP = 8080, 8081, 8082  # as in conf/demo.conf and conf/demo-consul.conf
CONF: Final = Path(__file__).resolve().parents[2] / "conf"

TRY: Final = f"""
lb serves on 127.0.0.1:{HTTP} (HTTP) and 127.0.0.1:{TCP} (TCP); its status is on 127.0.0.1:{STATUS}.

  http://127.0.0.1:{STATUS}/ in a browser            the page: servers, traffic, and what is wrong
  curl http://127.0.0.1:{HTTP}/hello               a request; repeat it, and another backend answers
  curl http://127.0.0.1:{HTTP}/upstream_show?demo  the servers of the upstream
  curl http://127.0.0.1:{STATUS}/upstream_show       the same from the master, with what each worker has applied
  curl http://127.0.0.1:{TCP}/hello               the same backends by TCP; they echo what is not HTTP:
  (echo hello; sleep 1) | curl -sN telnet://127.0.0.1:{TCP}
"""
TRY_CONSUL: Final = f"""
The servers are keys in Consul. Remove one, put it back, give it more weight:

  curl -X DELETE http://127.0.0.1:{agent.PORT}/v1/kv/{agent.PREFIX}/127.0.0.1:9002
  curl -X PUT -d '{agent.VALUE}' \\
      http://127.0.0.1:{agent.PORT}/v1/kv/{agent.PREFIX}/127.0.0.1:9002
  curl -X PUT -d '{{"weight":5}}' http://127.0.0.1:{agent.PORT}/v1/kv/{agent.PREFIX}/127.0.0.1:9002
  curl -X PUT -d '{{"down":1}}' http://127.0.0.1:{agent.PORT}/v1/kv/{agent.PREFIX}/127.0.0.1:9002
"""


def run(with_consul: bool) -> None:
    """Until Ctrl-C. Raises ChildError with a text for the user."""
    ports = [*BACKENDS, HTTP, STATUS, TCP, *([agent.PORT] if with_consul else [])]
    if taken := [str(port) for port in ports if not is_free(port)]:
        raise ChildError(f"the demo needs these ports of 127.0.0.1, which are in use: {', '.join(taken)}")
    with tempfile.TemporaryDirectory(prefix="lb-demo-") as prefix, Children() as children:
        (Path(prefix) / "logs").mkdir()
        children.start("the backends", [sys.executable, "-m", "lb.demo.backends", *map(str, BACKENDS)])
        children.until(lambda: all(is_listening(port) for port in BACKENDS), "the backends to listen")
        if with_consul:
            _start_consul(children, Path(prefix))
        _start_lb(children, prefix, "demo-consul.conf" if with_consul else "demo.conf")
        print(TRY + (TRY_CONSUL if with_consul else ""), "\nCtrl-C stops everything.\n", sep="", flush=True)
        children.wait()
        print("\nstopping", flush=True)


def _start_consul(children: Children, directory: Path) -> None:
    program = agent.find()
    if program is None:
        raise ChildError("no consul program: run `make consul`, or install Consul")
    log = directory / "logs/consul.log"
    try:
        with log.open("wb") as output:
            children.start("Consul", agent.command(program), output)
        servers = [f"127.0.0.1:{port}" for port in BACKENDS]
        children.until(lambda: agent.register(servers), "Consul to take the servers")
    except ChildError as error:
        raise ChildError(f"{error}\n{log.read_text(errors='replace')}") from error


def _start_lb(children: Children, prefix: str, conf: str) -> None:
    command = [sys.executable, "-m", "lb", "-p", prefix, "-e", "stderr", "-c", str(CONF / conf)]
    children.start("lb", command)
    children.until(lambda: is_listening(HTTP), "lb to listen")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lb.demo", description="lb before three demo backends.")
    parser.add_argument("--consul", action="store_true", help="take the servers from a real Consul agent")
    try:
        run(parser.parse_args().consul)
    except ChildError as error:
        sys.exit(f"lb demo: {error}")
    except KeyboardInterrupt:  # a signal while things were starting
        sys.exit(130)


if __name__ == "__main__":
    main()
