"""Directives about a worker as a process of the system: its CPUs, its priority, its core file, where it stands."""

from __future__ import annotations

import os

from lb.config.directive import AS_NGINX, Directive, once, path, size
from lb.config.errors import Refused
from lb.config.reader import Reader
from lb.config.scope import Scope
from lb.config.tree import Node
from lb.config.values import parse_number
from lb.model.process import WorkerProcess

MAX_CPUS = 1024  # CPU_SETSIZE
MAX_PRIORITY = 20


def worker_cpu_affinity(scope: Scope, node: Node) -> None:
    """Masks of zeros and ones, the lowest CPU at the right; or auto, and the CPUs that it may choose of."""
    once(scope, node)
    auto = node.args[0] == "auto"
    if auto and len(node.args) > 2:
        raise Refused(f'invalid number of arguments in "{node.name}" directive')
    masks = [_mask(text) for text in node.args[auto:]]
    scope.values[node.name] = (auto, masks)


def _mask(text: str) -> frozenset[int]:
    if len(text) > MAX_CPUS:
        raise Refused(f'"worker_cpu_affinity" supports up to {MAX_CPUS} CPUs only')
    digits = text.replace(" ", "")
    for digit in digits:
        if digit not in "01":
            raise Refused(f'invalid character "{digit}" in "worker_cpu_affinity"')
    cpus = frozenset(cpu for cpu, digit in enumerate(reversed(digits)) if digit == "1")
    if not cpus:
        raise Refused(f'"worker_cpu_affinity": no CPU in "{text}"')
    return cpus


def worker_priority(scope: Scope, node: Node) -> None:
    once(scope, node)
    text = node.args[0]
    value = parse_number(text.removeprefix("-"))
    if value is None:
        raise Refused(f'invalid number "{text}"')
    value = -value if text.startswith("-") else value
    if not -MAX_PRIORITY <= value <= MAX_PRIORITY:
        raise Refused(f'"worker_priority": {value} is outside -{MAX_PRIORITY} to {MAX_PRIORITY}')
    scope.values[node.name] = value


def env(scope: Scope, node: Node) -> None:
    """NAME=VALUE sets; NAME alone keeps what is kept anyway."""
    name, equals, value = node.args[0].partition("=")
    if not name or "\0" in value:
        raise Refused(f'invalid variable "{node.args[0]}" in "env" directive')
    if equals:
        scope.values.setdefault("env", {})[name] = value


def build(reader: Reader) -> WorkerProcess:
    """The model, once the number of workers is known."""
    values = reader.main.values
    return WorkerProcess(
        affinity=_affinity(reader),
        priority=values.get("worker_priority", 0),
        core=values.get("worker_rlimit_core"),
        directory=values.get("working_directory", ""),
        environment=tuple(values.get("env", {}).items()),
    )


def _affinity(reader: Reader) -> tuple[frozenset[int], ...]:
    auto, masks = reader.main.values.get("worker_cpu_affinity", (False, []))
    workers = reader.main.values.get("worker_processes", 1)
    if auto:
        allowed = os.sched_getaffinity(0)
        cpus = sorted(masks[0] & allowed if masks else allowed) or sorted(allowed)
        return tuple(frozenset((cpus[slot % len(cpus)],)) for slot in range(workers))
    if masks and len(masks) not in (1, workers):
        reader.warn(
            'the number of "worker_processes" is not equal to the number of "worker_cpu_affinity" masks, '
            "using last mask for remaining worker processes"
        )
    return tuple(masks)


DIRECTIVES = (
    Directive(
        "worker_cpu_affinity",
        ("main",),
        "MASK ... | auto [MASK]",
        (1, None),
        "any CPU",
        "The CPUs of each worker, a mask of zeros and ones for each (`0101`: the first and the third CPU), the last "
        "one for all that follow. auto: each worker has a CPU of its own, of those in MASK, in turn.",
        AS_NGINX,
        worker_cpu_affinity,
    ),
    Directive(
        "worker_priority",
        ("main",),
        "NUMBER",
        (1, 1),
        "0",
        "The nice value of workers, from -20 (first) to 20 (last). Below 0 only root can give one.",
        AS_NGINX,
        worker_priority,
    ),
    Directive(
        "worker_rlimit_core",
        ("main",),
        "SIZE",
        (1, 1),
        "the limit lb was started with",
        "The limit of a worker's core file.",
        AS_NGINX,
        size,
    ),
    Directive(
        "working_directory",
        ("main",),
        "DIRECTORY",
        (1, 1),
        "",
        "Where workers stand, which is where their core files go: their user must be able to write to it.",
        AS_NGINX,
        path,
    ),
    Directive(
        "env",
        ("main",),
        "NAME[=VALUE]",
        (1, 1),
        "",
        "A variable of the workers' environment. With VALUE it is set.",
        "differs: workers keep the whole environment that lb was started with, listed or not",
        env,
    ),
)
