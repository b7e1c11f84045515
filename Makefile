# Needs only python3 (3.11 or later, with venv) and make; everything else goes into .venv. `make` alone lists the targets.
SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
# The first interpreter that is new enough; PYTHON=... on the command line overrides.
PYTHON = $(shell for it in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$it -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$it; break; }; done)
# Versions and hashes of everything installed, build tools included, come from constraints.txt; uv refuses a file that does not match.
# Compiled once here, every start takes a third of the time. Progress on a terminal, silence in a log.
INSTALL := $(BIN)/uv pip install --compile-bytecode $(shell test -t 2 || echo --quiet) --python $(BIN)/python --constraints constraints.txt --build-constraints constraints.txt --editable
INPUTS := $(VENV)/.uv pyproject.toml constraints.txt
# Debian packages that `make test` installs where it may use apt.
DEBIAN_PACKAGES ?= mosquitto chromium fonts-noto-cjk strace libfaketime
# Passed on: make test ARGS="tests/store -x", make demo ARGS="--seconds 30 --no-browser --json"
ARGS ?=
# Processes that share the test files, each file whole in one of them; -n 0 in ARGS for one.
WORKERS := --numprocesses=2 --dist=loadfile --no-loadscope-reorder
# Of make soak.
SECONDS ?= 3600
SEED ?= $(shell date +%s)
RATE ?= 40

.PHONY: help install demo test soak lint bench bench-core bench-ingest screenshots influxd docs constraints clean
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | while IFS='|' read -r name what; do printf '%-18s %s\n' "$$name" "$$what"; done

install: $(VENV)/.core ## put tcewatch into .venv/bin

demo: $(VENV)/.demo ## show a demo park on this machine and print the address of the pages
	@$(BIN)/tcewatch demo $(ARGS)

test: $(VENV)/.test ## install what tests need (Debian packages too where apt may be used) and run all tests
	@$(BIN)/python tools/debian.py $(DEBIAN_PACKAGES)
	@$(BIN)/python -m pytest $(WORKERS) $(ARGS)

soak: $(VENV)/.test ## break everything in random order for an hour (SECONDS=600 SEED=7 RATE=100) and do the balances at the end
	@$(BIN)/python tools/debian.py $(DEBIAN_PACKAGES)
	@SOAK_SECONDS=$(SECONDS) SOAK_SEED=$(SEED) SOAK_RATE=$(RATE) $(BIN)/python -m pytest tests/faults/test_storm.py -s $(ARGS)

lint: $(VENV)/.test ## ruff, mypy --strict, the import rule, dependencies used and declared, no registry host in a tracked file
	@status=0; \
	$(BIN)/ruff check . || status=1; \
	$(BIN)/mypy || status=1; \
	$(BIN)/mypy tools/*.py || status=1; \
	$(BIN)/lint-imports --no-logo || status=1; \
	$(BIN)/deptry . || status=1; \
	$(BIN)/python tools/no_hosts.py || status=1; \
	exit $$status

bench: $(VENV)/.test ## run the benchmarks and print their figures
	@$(BIN)/python tools/bench.py $(ARGS)

bench-core: $(VENV)/.test ## measure the analytics core beside plain Python and DuckDB (ARGS="hours rollup", ARGS=--quick, ARGS=--write for docs/benchmarks/core.json)
	@$(BIN)/python tests/benchmarks/bench_core.py $(ARGS)

bench-ingest: $(VENV)/.report ## measure ingest beside Telegraf (mosquitto, influxd and telegraf needed; half an hour; writes docs/benchmarks/ingest.json and .svg)
	@$(BIN)/python tests/benchmarks/beside_telegraf.py $(ARGS)

screenshots: $(VENV)/.test ## run the demo and take the pictures of docs/images (chromium)
	@$(BIN)/python tools/screenshots.py

influxd: $(VENV)/.core ## build InfluxDB 2 from source into the cache (go >= 1.25, cargo and a C compiler; some minutes)
	@$(BIN)/python tools/influxd.py

docs: $(VENV)/.core ## write the generated pages of docs/ again
	@$(BIN)/python tools/docs.py

constraints: $(VENV)/.uv ## resolve all dependencies again into constraints.txt
	@$(BIN)/uv pip compile --quiet --upgrade --universal pyproject.toml --all-extras --generate-hashes --no-header --python-version 3.11 -o constraints.txt

clean: ## remove .venv and the caches of the tools
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(VENV)/.uv: tools/uv.txt
	@test -n "$(PYTHON)" || { echo "tcewatch needs Python 3.11 or later; here is $$(python3 --version 2>&1). Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tools/uv.txt
	@touch $@

$(VENV)/.core: $(INPUTS)
	@echo "Installing tcewatch into $(VENV) ..."
	@$(INSTALL) .
	@touch $@

$(VENV)/.demo: $(INPUTS)
	@echo "Installing tcewatch and its demo broker into $(VENV) ..."
	@$(INSTALL) '.[demo]'
	@touch $@ $(VENV)/.core

$(VENV)/.test: $(INPUTS)
	@echo "Installing tcewatch and the development tools into $(VENV) ..."
	@$(INSTALL) '.[demo,postgres,dev]'
	@touch $@ $(VENV)/.core $(VENV)/.demo

$(VENV)/.report: $(INPUTS)
	@echo "Installing tcewatch, the development tools and what draws plots into $(VENV) ..."
	@$(INSTALL) '.[demo,postgres,dev,report]'
	@touch $@ $(VENV)/.core $(VENV)/.demo $(VENV)/.test
