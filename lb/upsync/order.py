"""The order of an upstream's servers, which users see in /upstream_show and the dump: the module's.

Source: upsync-behaviour section 3.1.  A server that stays keeps its place; new ones go to the head one by one, in
Consul's order, so the last of them comes first.  The first time that a list from the file gains or loses a server,
it is turned around (the module copies it so); a list that came from Consul or from the dump already is in the
module's order.
"""

from __future__ import annotations

from collections.abc import Sequence

from lb.config.model import Server


def merge(current: Sequence[Server], answer: Sequence[Server], *, from_file: bool = False) -> tuple[Server, ...]:
    """The list after `answer` (Consul's order, addresses differ). `from_file`: `current` is the file's own list."""
    here = dict.fromkeys(server.address for server in current)  # a file may name one address twice
    wanted = {server.address: server for server in answer}
    kept = [wanted[address] for address in here if address in wanted]
    added = [server for server in answer if server.address not in here]
    if from_file and (added or len(kept) < len(current)):
        kept.reverse()
    return (*reversed(added), *kept)
