# lb: `make help` lists what there is.
#
# `make run` and `make test` do all set-up by themselves, on a fresh Debian 12 too (as root, or with sudo).  Everything
# they make lies in .venv, .cache and build, and is made again only when what it comes from has changed.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

LB_BUILD ?= release
VENV := .venv
PY := $(VENV)/bin/python
# PYTHON=python3.13, when it is given and is another one than .venv was made from: .venv is made anew.
WHICH := -c 'import sys; print(sys.version, sys.base_prefix)'
ifeq ($(MAKELEVEL),0)
ifneq ($(origin PYTHON),undefined)
ifneq ($(wildcard $(PY)),)
ifneq ($(shell $(PY) $(WHICH)),$(shell $(PYTHON) $(WHICH)))
export OTHER_PYTHON := other-python
endif
endif
endif
endif
PYTHON ?= python3
PIP := $(PY) -m pip install -q --disable-pip-version-check
TESTS ?= tests
JOBS ?= $(shell echo $$(($$(nproc) + 1)))
BENCH ?=
export LB_BUILD PYTHON

.PHONY: other-python fuzz fuzz-tls wire help deps venv build debug asan consul pebble run run-consul lint test test-cluster test-asan reloads cutting package screenshot bench clean

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps:  ## install the Debian packages that are missing (root or sudo)
	@.ci/install-packages build

venv: deps $(VENV)/.done  ## make .venv with every dependency of pyproject.toml

$(VENV)/.done: pyproject.toml $(OTHER_PYTHON)
	@test -x $(PY) || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lb needs Python 3.11 or newer: make PYTHON=...")'
	@test -x $(PY) && test -z "$(OTHER_PYTHON)" || $(PYTHON) -m venv --clear $(VENV)
	$(PIP) 'setuptools>=70.1' wheel 'cython>=3.1,<4'
	@PYTHONWARNINGS=ignore LB_NO_EXT=1 $(PIP) --no-build-isolation -e '.[dev]'
	@touch $@

build: venv  ## build in place (LB_BUILD=release|debug|asan|profile|coverage, LB_MARCH=native)
	@mkdir -p build && flock build/.lock $(PY) setup.py -q build_ext --inplace

debug:  ## build with the BUG_ON checks on
	@$(MAKE) build LB_BUILD=debug

asan:  ## build with the address and undefined behaviour sanitizers
	@$(MAKE) build LB_BUILD=asan

pebble: venv  ## fetch pebble, an ACME server for tests, into .cache, or link the one of PATH
	@.ci/get-pebble

consul: venv  ## fetch a Consul agent into .cache (Debian 11's 1.8.7), or link the one of PATH
	@.ci/get-consul

run: build  ## demo: lb on 127.0.0.1:8080 before three backends
	@$(PY) -m lb.demo

run-consul: build consul  ## the same, with the servers in a real Consul agent
	@$(PY) -m lb.demo --consul

lint: venv  ## ruff, mypy and cython-lint (which cannot see that the included rooms use the cimports of _fast.pyx)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	PATH=$(CURDIR)/$(VENV)/bin:$$PATH cython-lint $$(find lb tests -name '*.pyx' -not -name _fast.pyx -o -name '*.pxd')

test: lint build consul  ## everything: set-up, lint, build, pytest (TESTS=tests/test_head.py for a part)
	@.ci/install-packages test
	@.ci/get-pebble || echo "make test: no pebble to be had: the tests of ACME are skipped"
	@.ci/install-packages browser || echo "make test: no Chromium to be had: the tests of the status page are skipped"
	@# What fails is run once more, alone: a real fault fails again, a machine that was too busy for a deadline does not.
	@# Most tests wait for something: a few side by side, each file in one process.
	$(PY) -m pytest -q -n $(JOBS) --dist loadfile $(TESTS) || $(PY) -m pytest -q --last-failed --last-failed-no-failures=none $(TESTS)

test-cluster: build consul  ## three Consul servers, two lb: leader killed, hanging, network split, lb cut off (1.5 minutes)
	$(PY) -m pytest -q -m cluster tests/test_cluster.py

CUT = $(addprefix tests/test_,traffic_*.py proxy_*.py engine_*.py files*.py http_*.py websocket.py limit_req.py realip.py \
	access.py stream_values.py)

over-tls: consul  ## the tests of traffic with clients that speak TLS (TLS=lb or openssl); what expects http:// fails
	$(PY) -m pytest -q -n $(JOBS) --dist loadfile --tls=$(or $(TLS),lb) $(CUT)

cutting: consul  ## the tests of traffic on the transport that cuts and delays, debug build (CUTTING=SEED)
	@$(MAKE) build LB_BUILD=$(if $(filter release,$(LB_BUILD)),debug,$(LB_BUILD))
	$(PY) -m pytest -q -n $(JOBS) --dist loadfile --cutting=$(or $(CUTTING),1) $(CUT)

test-asan: asan consul  ## tests under the sanitizers, which Python itself must load first (TESTS=tests/test_head.py for a part)
	LD_PRELOAD=$$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc \
		$(PY) -m pytest -q -n $(JOBS) --dist loadfile $(TESTS)

reloads: build  ## 100 reloads under load: no client may notice
	LB_RELOADS=100 $(PY) -m pytest -q tests/test_reload_load.py

package: venv  ## build a wheel and try it in a fresh virtual environment
	$(PY) -m pytest -q -m package tests/test_package.py

wire: build  ## the wire cases through a real lb, split at every byte (a few minutes)
	LB_WIRE=full $(PY) -m pytest -q tests/test_traffic_wire.py

screenshot: build consul  ## the pictures of the status page in doc/ (two minutes)
	@.ci/install-packages test
	$(PY) -m tests.screenshot

fuzz: build  ## the coverage-guided fuzzer of the pure rooms (FUZZ_SECONDS=1800)
	$(PY) -m tests.fuzz $(or $(FUZZ_SECONDS),1800)

fuzz-tls: build  ## the same fuzzer on the record layer of TLS (FUZZ_SECONDS=600)
	$(PY) -m tests.fuzz tls $(or $(FUZZ_SECONDS),600)

bench: build  ## lb against nginx and HAProxy (NGINX=, HAPROXY=, BENCH="http_keepalive tcp_small"): bench/README.md
	@.ci/install-packages bench
	@.ci/get-consul
	@$(PY) -c 'import matplotlib' 2>/dev/null || $(PIP) 'matplotlib>=3.8,<4'
	@mkdir -p build/bench
	@for tool in load floor tls; do if [ bench/$$tool.c -nt build/bench/$$tool ]; then \
		gcc -O2 -g -Wall -Wextra -o build/bench/$$tool bench/$$tool.c -lm -lssl -lcrypto; fi; done
	@$(PY) -m bench $(BENCH)

clean:  ## remove what was built (.venv and .cache stay)
	rm -rf build lb.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f lb/*.so tests/*.so
