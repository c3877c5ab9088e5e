# lb: `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help

LB_BUILD ?= release
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install -q --disable-pip-version-check
export LB_BUILD

.PHONY: help venv build debug asan

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(VENV)/.done  ## .venv with every dependency of pyproject.toml

$(VENV)/.done: pyproject.toml
	test -x $(PY) || python3 -m venv $(VENV)
	$(PIP) 'setuptools>=70.1' wheel 'cython>=3.1,<4'
	LB_NO_EXT=1 $(PIP) --no-build-isolation -e '.[dev]'
	@touch $@

build: venv  ## build the extension in place (LB_BUILD=release|debug|asan|profile|coverage, LB_MARCH=native)
	@mkdir -p build && flock build/.lock $(PY) setup.py -q build_ext --inplace

debug:  ## build with BUG_ON checks
	@$(MAKE) --no-print-directory build LB_BUILD=debug

asan:  ## build with the address and undefined behaviour sanitizers
	@$(MAKE) --no-print-directory build LB_BUILD=asan
