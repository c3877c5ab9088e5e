"""Runs a scenario: all contestants up, then rounds in which each runs once, in an order that rotates.

A ratio is taken within a round, so that what disturbs the machine for seconds disturbs both of its parts.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from bench.proxies import Proxy, binary
from bench.scenario import Contestant, Ratio, Result, Scenario
from bench.stand import Stand


@dataclass
class Outcome:
    """All runs of one scenario."""

    scenario: Scenario
    runs: dict[str, list[Result]]  # label -> one a round
    versions: dict[str, str]
    configs: dict[str, str]
    skipped: dict[str, str]  # label -> why
    failed: dict[str, str]

    def median(self, label: str, column: str) -> float | None:
        values = [getattr(run, column) for run in self.runs.get(label, []) if getattr(run, column) is not None]
        return statistics.median(values) if values else None

    def spread(self, label: str) -> tuple[float, float]:
        values = [run.value for run in self.runs[label]]
        return min(values), max(values)

    def ratios(self, ratio: Ratio) -> list[float]:
        """of/to, one a round; empty where one of them did not run."""
        pairs = zip(self.runs.get(ratio.of, []), self.runs.get(ratio.to, []), strict=False)
        return [a.value / b.value for a, b in pairs if b.value]

    def as_json(self) -> dict[str, object]:
        ratios = {f"{r.of} / {r.to}": {"goal": r.goal, "rounds": self.ratios(r)} for r in self.scenario.ratios}
        for entry in ratios.values():
            rounds = entry["rounds"]
            entry["median"] = statistics.median(rounds) if isinstance(rounds, list) and rounds else None
        return {
            "title": self.scenario.title,
            "unit": self.scenario.unit,
            "tool": self.scenario.tool,
            "limit": self.scenario.limit,
            "runs": {label: [asdict(run) for run in runs] for label, runs in self.runs.items()},
            "ratios": ratios,
            "versions": self.versions,
            "configurations": self.configs,
            "skipped": self.skipped,
            "failed": self.failed,
        }


def run_scenario(
    scenario: Scenario, stand: Stand, rounds: int, kinds: tuple[str, ...], say: Callable[[str], None]
) -> Outcome:
    outcome = Outcome(scenario, {}, {}, {}, {}, {})
    usable = {}
    for label, contestant in scenario.contestants.items():
        if contestant.kind not in kinds or binary(contestant.kind) is None:
            outcome.skipped[label] = "not chosen" if contestant.kind not in kinds else "not installed"
        else:
            usable[label] = contestant
    with contextlib.ExitStack() as stack:
        proxies = _start_all(scenario, usable, stand, outcome, stack)
        rounds = min(rounds, scenario.most_rounds or rounds)
        for number in range(rounds):
            say(f"{scenario.name}: round {number + 1} of {rounds}")
            for label in _rotated(list(proxies), number):
                _run_one(scenario, label, proxies, stand, outcome)
    return outcome


def _start_all(
    scenario: Scenario, usable: dict[str, Contestant], stand: Stand, outcome: Outcome, stack: contextlib.ExitStack
) -> dict[str, Proxy]:
    proxies = {}
    for label, contestant in usable.items():
        directory = stand.directory / scenario.name / label.replace(" ", "_")
        config = stand.fill(contestant.config)
        options = {"workers": scenario.workers, "pinned": scenario.pinned}
        proxy = Proxy(contestant.kind, label, config, directory, **options)  # type: ignore[arg-type]
        outcome.configs[label], outcome.versions[label] = proxy.config, proxy.version
        try:
            if not scenario.fresh:
                stack.callback(proxy.stop)
                proxy.start()
        except (RuntimeError, AssertionError) as error:
            outcome.failed[label] = str(error)
            continue
        proxies[label] = proxy
    return proxies


def _run_one(scenario: Scenario, label: str, proxies: dict[str, Proxy], stand: Stand, outcome: Outcome) -> None:
    """One run; a contestant that fails is left out from then on, and the failure reported."""
    proxy = proxies[label]
    try:
        with _running(proxy, scenario.fresh):
            result = scenario.run(proxy, scenario.contestants[label], stand)
    except (RuntimeError, AssertionError, OSError) as error:
        outcome.failed[label] = str(error)
        del proxies[label]
        return
    outcome.runs.setdefault(label, []).append(result)


@contextlib.contextmanager
def _running(proxy: Proxy, fresh: bool) -> Iterator[None]:
    if fresh:
        proxy.start()
    try:
        yield
    finally:
        if fresh:
            proxy.stop()


def _rotated(labels: list[str], number: int) -> list[str]:
    """Each contestant goes first in its turn, and every second round runs backwards."""
    if not labels:
        return []
    start = number % len(labels)
    turned = labels[start:] + labels[:start]
    return turned[::-1] if number % 2 else turned
