# `make help` lists what there is. Every target sets up what it needs and says so; a second run starts at once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3
PORT ?=
ENGINE ?=
PYTEST_ARGS ?=
# How many processes run the tests: 0 is one, which takes 37 minutes; most tests wait, so 3 take 14.
# But what is started again on its port may then find it taken by a test of another process.
WORKERS ?= 0
BENCH_ARGS ?=
FUZZ_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
NODE_CLIENTS := tests/conformance/node
CLIENT := clients/javascript
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
say := @printf '==> %s\n'

.PHONY: help demo test lint format client bench conformance fuzz clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  Variables: PYTHON (python3), PORT and ENGINE of the demo, PYTEST_ARGS, BENCH_ARGS, FUZZ_ARGS,'
	@echo '  WORKERS (0: all tests in one process; 3 take less than half the time);'
	@echo '  for example: make demo PORT=9000 ENGINE=memory:'

demo: $(VENV)/.has-tidewire ## Start the server with live traffic and a page to watch it; ctrl-C stops both
	@exec $(BIN)/python scripts/demo.py $(if $(PORT),--port '$(PORT)') $(if $(ENGINE),--engine '$(ENGINE)')

test: lint $(NODE_CLIENTS)/node_modules/.package-lock.json $(CLIENT)/node_modules/.package-lock.json ## Run the checks of `make lint`, then every test
	@scripts/system-packages test
	$(say) 'running the tests'
	@$(BIN)/python -m pytest $(if $(filter-out 0,$(WORKERS)),-n $(WORKERS) --dist loadfile) $(PYTEST_ARGS) < /dev/null

# The types of tests and benchmarks can only be checked where the libraries that they use are installed.
lint: $(VENV)/.has-lint $(VENV)/.has-test $(VENV)/.has-bench ## Check style, formatting and types
	$(say) 'checking style, formatting and types'
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy --no-error-summary

format: $(VENV)/.has-lint ## Format the code and mend what ruff can mend
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

client: $(CLIENT)/node_modules/.package-lock.json ## Build the JavaScript client, and put it where the server serves it
	$(say) 'building $(CLIENT)'
	@npm run --silent --prefix $(CLIENT) build
	@cp $(CLIENT)/dist/tidewire.js src/tidewire/console/static/client.js

bench: $(VENV)/.has-bench ## Measure on this machine; prints a table, writes benchmarks/results/latest.json
	@scripts/system-packages bench
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

conformance: $(VENV)/.has-test ## Run all 517 cases of the Autobahn suite; writes docs/conformance.md
	@$(BIN)/python -m scripts.conformance

fuzz: $(VENV)/.has-test $(VENV)/.has-fuzz ## Fuzz what reads bytes, a minute for each target
	@$(BIN)/python -m scripts.fuzz $(FUZZ_ARGS)

clean: ## Remove what these targets made (tidewire-data/ stays: it holds messages)
	@rm -rf $(VENV) $(NODE_CLIENTS)/node_modules $(CLIENT)/node_modules $(CLIENT)/dist build dist .fuzz .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	@find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps live inside the virtual environment, so removing it removes them too.

$(BIN)/python:
	@scripts/system-packages python '$(PYTHON)'
	$(say) 'creating the virtual environment $(VENV)'
	@'$(PYTHON)' -m venv --clear $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1'

$(VENV)/.has-tidewire: pyproject.toml | $(BIN)/python
	$(say) 'installing Tidewire into $(VENV)'
	@$(PIP) install --editable .
	@touch $@

# npm writes this file last, when all went well.
%/node_modules/.package-lock.json: %/package-lock.json
	@scripts/system-packages test
	$(say) 'installing the packages of $*'
	@npm ci --loglevel=error --prefix $* > /dev/null
	@touch $@

$(VENV)/.has-%: pyproject.toml $(VENV)/.has-tidewire
	$(say) 'installing the tools of the group "$*"'
	@$(PIP) install --group $*
	@touch $@
