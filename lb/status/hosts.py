"""Whether a request to the status port is for a name of ours.

A web page that an operator looks at can have its own name resolve to the address of this port (DNS rebinding): then
the browser takes our answers for the page's own and lets its script read them.  What the browser cannot be made to
forge is the Host field, which keeps the page's name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable


def is_ours(host: str, names: Iterable[str]) -> bool:
    """`host`: a Host field. `names`: in lower case; ".NAME" stands for NAME and all names below it.

    Addresses and localhost are always ours, and so is an empty field: no page can have them as its name.  The port is
    not looked at, since a tunnel or a published port of a container changes it.
    """
    name = _without_port(host.strip().lower()).removesuffix(".")
    if name in ("", "localhost") or _is_address(name):
        return True
    return any(name == one.lstrip(".") or (one.startswith(".") and name.endswith(one)) for one in names)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0][1:]
    return host.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
