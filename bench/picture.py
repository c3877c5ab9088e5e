"""The pictures: bars for each scenario (what it costs, with the spread of the runs), and latency against offered load.

Drawn from results.json alone, so that an old result can be drawn again: `python -m bench.picture RESULTS_DIRECTORY`.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from pathlib import Path
from typing import Any

COLOURS = {"nginx": "#8a8f98", "haproxy": "#c2a36b", "lb": "#2a6fbb"}


def colour(label: str) -> str:
    return COLOURS.get(label.split()[0], "#999999")  # another build (OTHER=)


def draw(source: Path, directory: Path) -> None:
    """Write bars.svg, and latency.svg where that scenario ran."""
    try:
        import matplotlib
    except ImportError:
        print("no pictures: matplotlib is not installed (make bench installs it)", file=sys.stderr)
        return
    matplotlib.use("Agg")
    results = json.loads(source.read_text())
    scenarios = {name: item for name, item in results["scenarios"].items() if item["runs"]}
    latency = scenarios.pop("latency", None)
    if scenarios:
        draw_bars(scenarios, results["machine"], directory / "bars.svg")
    if latency:
        draw_latency(latency, results["machine"], directory / "latency.svg")


def footer(machine: dict[str, Any], item: dict[str, Any]) -> str:
    versions = ", ".join(sorted(set(item["versions"].values())))
    return f"{versions}; {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}"


def draw_bars(scenarios: dict[str, Any], machine: dict[str, Any], path: Path) -> None:
    from matplotlib import pyplot

    columns = min(3, len(scenarios))
    rows = math.ceil(len(scenarios) / columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(5.2 * columns, 2.7 * rows), squeeze=False)
    flat = [axis for row in axes for axis in row]
    for axis, (name, item) in zip(flat, scenarios.items(), strict=False):
        bars(axis, name, item)
    for axis in flat[len(scenarios) :]:
        axis.set_visible(False)
    figure.suptitle("median of the runs, least and most; bars of one panel are comparable", fontsize=9)
    figure.text(0.01, 0.005, footer(machine, next(iter(scenarios.values()))), fontsize=7)
    figure.tight_layout(rect=(0, 0.02, 1, 0.98))
    figure.savefig(path)
    pyplot.close(figure)


def bars(axis: Any, name: str, item: dict[str, Any]) -> None:
    labels = list(item["runs"])[::-1]
    values = [[run["value"] for run in item["runs"][label]] for label in labels]
    middles = [statistics.median(v) for v in values]
    low = [middle - min(v) for middle, v in zip(middles, values, strict=True)]
    high = [max(v) - middle for middle, v in zip(middles, values, strict=True)]
    axis.barh(labels, middles, xerr=[low, high], color=[colour(label) for label in labels], capsize=3, ecolor="#333333")
    for place, middle in enumerate(middles):
        axis.text(
            0,
            place,
            f"  {middle:,.0f}" if middle >= 1000 else f"  {middle:.3g}",
            va="center",
            fontsize=8,
            color="white" if middle else "black",
        )
    if item["limit"]:
        axis.axvline(item["limit"], color="#bb3333", linestyle="--", linewidth=1)
    axis.set_title(name, fontsize=10, loc="left")
    axis.set_xlabel(f"{item['unit']}  ({item['tool']})", fontsize=8)
    axis.tick_params(labelsize=8)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def draw_latency(item: dict[str, Any], machine: dict[str, Any], path: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(15, 4.2), sharex=True)
    for axis, (key, title) in zip(axes, (("p50_us", "p50"), ("p99_us", "p99"), ("p999_us", "p99.9")), strict=True):
        for label, runs in item["runs"].items():
            rates, middles, low, high = series(runs, key)
            axis.plot(rates, middles, marker="o", label=label, color=colour(label))
            axis.fill_between(rates, low, high, color=colour(label), alpha=0.15)
        axis.set_yscale("log")
        axis.set_title(f"{title} latency, us", fontsize=10, loc="left")
        axis.set_xlabel("offered load, requests/s (open loop, Poisson)", fontsize=8)
        axis.grid(True, which="both", alpha=0.2)
    axes[0].legend(fontsize=8)
    figure.text(0.01, 0.005, footer(machine, item), fontsize=7)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(path)
    pyplot.close(figure)


def series(runs: list[dict[str, Any]], key: str) -> tuple[list[float], list[float], list[float], list[float]]:
    """Offered rate, median, least and most of `key` over the runs, by rate."""
    by_share: dict[str, list[dict[str, float]]] = {}
    for run in runs:
        for share, point in run["extra"]["series"].items():
            by_share.setdefault(share, []).append(point)
    points = [by_share[share] for share in sorted(by_share, key=float)]
    values = [[point[key] for point in group] for group in points]
    rates = [statistics.median(point["rate"] for point in group) for group in points]
    return rates, [statistics.median(v) for v in values], [min(v) for v in values], [max(v) for v in values]


if __name__ == "__main__":
    draw(Path(sys.argv[1]) / "results.json", Path(sys.argv[1]))
