"""lb against nginx and HAProxy on one machine: `make bench`, or `python -m bench --help`.

README.md says how to read it.

machine.py     cores, versions, CPU time of processes
proxies.py     starts one contestant (nginx, HAProxy, lb) with a configuration, pinned to its core
stand.py       the backends, and the load tools (wrk, bench/load.c) on the other core
scenario.py    what a scenario is, and what one run of it gives
configs.py     configuration texts that scenarios have in common
scenarios/     one file a scenario, with its configuration for all contestants
runner.py      rounds of alternating runs; medians, ratios, spread
report.py      the table, the JSON
picture.py     the two pictures
"""
