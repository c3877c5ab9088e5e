"""Machines of one's own: network namespaces on a switch whose cables can be pulled without a sound.

Every node has two interfaces: `svc`, on which the tests reach it too, and `ctl`, on which only nodes see each other.  A
cable that is moved to the other switch drops packets: no RST, no ICMP, the interface stays up, and since every
neighbour is known for good nobody even asks for it.  Needs root (CAP_NET_ADMIN): `usable()` says whether.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable
from typing import Literal, TypeVar

T = TypeVar("T")
Plane = Literal["svc", "ctl"]
_CLONE_NEWNET = 0x40000000
_numbers = itertools.count()


def usable() -> str:
    """Why no namespace can be made; empty: it can."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "needs root and ip(8) to make network namespaces"
    name = f"lb-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"needs CAP_NET_ADMIN and CAP_SYS_ADMIN: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


class Network:
    """`count` nodes, numbered from 0. close() takes everything away."""

    def __init__(self, count: int) -> None:
        self._id = f"{os.getpid()}x{next(_numbers)}"
        self._subnet = f"10.198.{os.getpid() % 250}"
        self._nodes = range(count)
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    @property
    def own(self) -> str:
        """The address at which nodes see the test."""
        return f"{self._subnet}.254"

    def address(self, node: int, plane: Plane = "svc") -> str:
        return f"{self._subnet}.{node + 1}" if plane == "svc" else f"10.199.0.{node + 1}"

    def inside(self, node: int) -> list[str]:
        """What a command must begin with to run there."""
        return ["ip", "netns", "exec", self._name(node)]

    def call(self, node: int, action: Callable[[], T]) -> T:
        """In a thread that lives there: sockets that it makes belong to the node."""
        results: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                fd = os.open(f"/run/netns/{self._name(node)}", os.O_RDONLY)
                libc = ctypes.CDLL(None, use_errno=True)
                failed = libc.setns(fd, _CLONE_NEWNET)
                os.close(fd)
                if failed:
                    raise OSError(ctypes.get_errno(), "setns")
                results.append(action())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def cut(self, plane: Plane, nodes: Iterable[int]) -> None:
        """These nodes see each other only, the rest (and the test) sees the rest only."""
        self._move(plane, nodes, "1")

    def heal(self, plane: Plane) -> None:
        self._move(plane, self._nodes, "0")

    def close(self) -> None:
        for node in self._nodes:
            subprocess.run(["ip", "netns", "del", self._name(node)], capture_output=True, check=False)
        for plane, side in itertools.product(("svc", "ctl"), "01"):
            subprocess.run(["ip", "link", "del", self._switch(plane, side)], capture_output=True, check=False)

    # What `ip` is told

    def _name(self, node: int) -> str:
        return f"lb-{self._id}-{node}"

    def _switch(self, plane: str, side: str) -> str:
        return f"{plane[0]}{side}{self._id}"[:15]

    def _port(self, plane: str, node: int) -> str:
        return f"{plane[0]}{node}p{self._id}"[:15]

    def _move(self, plane: Plane, nodes: Iterable[int], side: str) -> None:
        _ip(f"link set {self._port(plane, node)} master {self._switch(plane, side)}" for node in nodes)

    def _make(self) -> None:
        for plane, side in itertools.product(("svc", "ctl"), "01"):
            _ip([f"link add {self._switch(plane, side)} type bridge", f"link set {self._switch(plane, side)} up"])
        own = self._switch("svc", "0")
        _ip([f"link set {own} address {_mac('svc', 253)}", f"address add {self.own}/24 dev {own}"])
        for node in self._nodes:
            subprocess.run(["ip", "netns", "add", self._name(node)], check=True)
            _ip(["link set lo up"], self._name(node))
            self._plug("svc", node)
            self._plug("ctl", node)
            _ip([f"neigh replace {self.own} lladdr {_mac('svc', 253)} dev svc"], self._name(node))
            _ip([f"neigh replace {self.address(node)} lladdr {_mac('svc', node)} dev {own}"])

    def _plug(self, plane: Plane, node: int) -> None:
        port = self._port(plane, node)
        _ip([f"link add {port} type veth peer name {plane} address {_mac(plane, node)} netns {self._name(node)}"])
        _ip([f"link set {port} master {self._switch(plane, '0')} up"])
        inside = [f"address add {self.address(node, plane)}/24 dev {plane}", f"link set {plane} up"]
        others = [other for other in self._nodes if other != node]
        inside += [f"neigh replace {self.address(one, plane)} lladdr {_mac(plane, one)} dev {plane}" for one in others]
        _ip(inside, self._name(node))


def _mac(plane: str, node: int) -> str:
    return f"02:00:00:{'01' if plane == 'svc' else '02'}:00:{node + 1:02x}"


def _ip(commands: Iterable[str], namespace: str = "") -> None:
    where = ["-n", namespace] if namespace else []
    text = "\n".join(commands) + "\n"
    done = subprocess.run(["ip", *where, "-batch", "-"], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {where}: {done.stderr.strip()}\n{text}")
