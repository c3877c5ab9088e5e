"""`python -m bench [SCENARIO ...]`: run scenarios, print tables; the rest goes to bench/results/."""

from __future__ import annotations

import argparse
import datetime
import importlib
import os
import pkgutil
import resource
import sys
import tempfile
from pathlib import Path

import bench.scenarios
from bench.machine import LOAD_CORE, WORKER_CORE, describe
from bench.proxies import KINDS
from bench.report import table, write_json
from bench.runner import Outcome, run_scenario
from bench.scenario import Scenario, with_other
from bench.stand import Stand

ROOT = Path(__file__).resolve().parent


def scenarios() -> dict[str, Scenario]:
    """All of them, in the order that the modules give themselves (ORDER)."""
    found = []
    for info in pkgutil.iter_modules(bench.scenarios.__path__):
        module = importlib.import_module(f"bench.scenarios.{info.name}")
        many = getattr(module, "SCENARIOS", None) or (module.SCENARIO,)
        found += [((module.ORDER, number), scenario) for number, scenario in enumerate(many)]
    chosen = [scenario for _, scenario in sorted(found, key=lambda pair: pair[0])]
    if os.environ.get("OTHER"):
        chosen = [with_other(scenario) for scenario in chosen]
    return {scenario.name: scenario for scenario in chosen}


def arguments(known: dict[str, Scenario]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of: {' '.join(known)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contestant (default 5)")
    parser.add_argument("--seconds", type=int, default=3, help="of load in one run (default 3)")
    parser.add_argument("--kinds", default=",".join(KINDS), help="contestants, of nginx,haproxy,lb,floor,other")
    parser.add_argument("--no-picture", action="store_true", help="leave the pictures out")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    given = parser.parse_args()
    unknown = set(given.scenarios) - set(known)
    if unknown:
        parser.error(f"unknown scenario {', '.join(sorted(unknown))}; there are {' '.join(known)}")
    return given


def say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def run_all(chosen: list[Scenario], given: argparse.Namespace, results: Path) -> list[Outcome]:
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="lb-bench-") as directory:
        stand = Stand(Path(directory), given.seconds)
        try:
            stand.start()
            for scenario in chosen:
                outcome = run_scenario(scenario, stand, given.rounds, tuple(given.kinds.split(",")), say)
                outcomes.append(outcome)
                print(table(outcome), end="\n\n", flush=True)
                settings = {"rounds": given.rounds, "seconds": given.seconds, "cores": [WORKER_CORE, LOAD_CORE]}
                write_json(results / "results.json", describe(), settings, outcomes)
        finally:
            stand.stop()
    return outcomes


def main() -> int:
    known = scenarios()
    given = arguments(known)
    if given.list:
        print("\n".join(f"{name:22} {scenario.title}" for name, scenario in known.items()))
        return 0
    chosen = [known[name] for name in given.scenarios] or list(known.values())
    results = ROOT / "results" / datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    results.mkdir(parents=True)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 20_000), most))  # inherited by all that is started
    outcomes = run_all(chosen, given, results)
    if not given.no_picture:
        from bench.picture import draw

        draw(results / "results.json", results)
    print(f"results: {results}")
    return 1 if any(outcome.failed for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
