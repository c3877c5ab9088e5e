"""What a person reads: one table a scenario, in text; and the same with everything behind it as JSON."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from bench.runner import Outcome
from bench.scenario import Ratio, Scenario

COLUMNS = {
    "user": "user",
    "system": "sys",
    "per_second": "per s",
    "p50_us": "p50 us",
    "p99_us": "p99 us",
    "errors": "errors",
}


def number(value: float | None) -> str:
    """Three or four digits that mean something."""
    if value is None:
        return "-"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value == int(value) and value >= 10 else f"{value:.3g}" if value < 10 else f"{value:.1f}"


def table(outcome: Outcome) -> str:
    """The scenario's table: medians, the spread of the compared value, and the ratios with their goals."""
    scenario = outcome.scenario
    width = max([len(label) for label in scenario.contestants] + [14])
    used = [key for key in COLUMNS if any(outcome.median(label, key) is not None for label in outcome.runs)]
    lines = [f"{scenario.name}: {scenario.title}  [{scenario.tool}]"]
    heads = "".join(f"{COLUMNS[key]:>10}" for key in used)
    lines.append(f"  {'':{width}}{scenario.unit:>18}  {'min .. max':>17}{heads}")
    for label, runs in outcome.runs.items():
        low, high = outcome.spread(label)
        cells = "".join(f"{number(outcome.median(label, key)):>10}" for key in used)
        middle = statistics.median(run.value for run in runs)
        lines.append(f"  {label:{width}}{number(middle):>18}  {number(low) + ' .. ' + number(high):>17}{cells}")
    lines += [line for ratio in scenario.ratios if (line := _ratio_line(outcome, ratio, width))]
    if scenario.limit is not None and "lb" in outcome.runs:
        middle = outcome.median("lb", "value") or 0.0
        lines.append(f"  {'lb':{width}}{number(middle):>18}  {_verdict(scenario, middle, scenario.limit)}")
    lines += [f"  {label}: FAILED: {' | '.join(why.splitlines()[:4])}" for label, why in outcome.failed.items()]
    lines += [f"  {label}: left out: {why}" for label, why in outcome.skipped.items() if why != "not chosen"]
    return "\n".join(lines)


def _ratio_line(outcome: Outcome, ratio: Ratio, width: int) -> str:
    values = outcome.ratios(ratio)
    if not values:
        return ""
    middle = statistics.median(values)
    text = f"  {ratio.of + ' / ' + ratio.to:{width}}{middle:>18.3f}  {f'{min(values):.3f} .. {max(values):.3f}':>17}"
    if ratio.goal is None:
        return text
    return f"{text}  {_verdict(outcome.scenario, middle, ratio.goal)}"


def _verdict(scenario: Scenario, value: float, goal: float) -> str:
    lower = scenario.better == "lower"
    good = value <= goal if lower else value >= goal
    return f"goal {'<=' if lower else '>='} {goal:g}: {'met' if good else 'MISSED'}"


def write_json(path: Path, machine: dict[str, object], settings: dict[str, object], outcomes: list[Outcome]) -> None:
    content = {
        "machine": machine,
        "settings": settings,
        "scenarios": {outcome.scenario.name: outcome.as_json() for outcome in outcomes},
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
