"""What a scenario is, and what one run of it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bench.proxies import Proxy
    from bench.stand import Stand


@dataclass
class Result:
    """One run. `value` is the figure that the scenario compares; None in a column: not measured there."""

    value: float
    user: float | None = None  # parts of value, where it is CPU time
    system: float | None = None
    per_second: float | None = None
    p50_us: float | None = None
    p99_us: float | None = None
    errors: int | None = None
    extra: dict[str, object] = field(default_factory=dict)  # into the JSON, and the picture


@dataclass(frozen=True)
class Contestant:
    kind: Literal["nginx", "haproxy", "lb", "other"]
    config: str  # @port@ and @dir@ are filled by the proxy, @...@ of the stand by the stand
    variant: str = ""  # for the run function of the scenario


@dataclass(frozen=True)
class Ratio:
    """value of `of` by value of `to`, run by run; `goal` is the most (or least) that lb wants."""

    of: str
    to: str
    goal: float | None = None


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    contestants: dict[str, Contestant]  # by label
    run: Callable[[Proxy, Contestant, Stand], Result]
    unit: str = "CPU us/request"
    tool: str = "wrk (closed loop)"
    ratios: tuple[Ratio, ...] = ()
    limit: float | None = None  # absolute goal for the value of `lb`
    better: Literal["lower", "higher"] = "lower"
    workers: int = 1
    pinned: bool = True
    fresh: bool = False  # a new process for each run
    most_rounds: int | None = None  # for scenarios whose figures repeat exactly


def against(nginx: float | None = None, haproxy: float | None = None) -> tuple[Ratio, ...]:
    """The usual two ratios, with their goals."""
    return (Ratio("lb", "nginx", nginx), Ratio("lb", "haproxy", haproxy))


def with_other(scenario: Scenario) -> Scenario:
    """The same with another build of lb (OTHER=) beside it, for what a change costs."""
    if "lb" not in scenario.contestants:
        return scenario
    other = replace(scenario.contestants["lb"], kind="other")
    return replace(
        scenario,
        contestants={**scenario.contestants, "other": other},
        ratios=(*scenario.ratios, Ratio("lb", "other")),
    )
