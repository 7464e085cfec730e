# Run `make` alone for the list of targets. A fresh machine needs Python 3.11 or newer and make.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV ?= .venv
BIN := $(VENV)/bin
# The first interpreter that is new enough; `make PYTHON=/path/to/python3.12 test` overrides.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
# Further arguments for pytest: make test ARGS="-k naflow -x"
ARGS ?=
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo test check bench golden golden-check wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed ## install, then make a small noisy corpus from bundled photographs
	$(BIN)/noisemill run quickstart

test: $(VENV)/.installed-dev ## install, then run every test that needs no GPU
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup $(ARGS)

check: $(VENV)/.installed-dev ## format, lint, types, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/test_architecture.py

bench: $(VENV)/.installed-dev ## measure speed and memory, as ratios of runs side by side
	$(BIN)/python -m benchmarks $(ARGS)

golden: $(VENV)/.installed-dev ## make the golden fixtures again; refuses on a dirty tree
	@git diff --quiet HEAD -- || { echo "golden: commit or undo your changes first, so that the" \
		"fixtures belong to one revision (git status)." >&2; exit 1; }
	@for file in $$(find tests -name 'test_golden_*.py' | sort); do \
		module="$${file%.py}"; $(BIN)/python -m "$${module//\//.}"; done

golden-check: $(VENV)/.installed-dev ## compare the golden fixtures as a processor without AVX makes them
	$(BIN)/python -m tests.contracts.processors sse4 $(BIN)/python -m pytest --quiet $$(find tests -name 'test_golden_*.py')

wheel: $(VENV)/.installed-dev ## build the wheel and run the tests against it, outside the checkout
	$(BIN)/python tools/check_wheel.py $(ARGS)

clean: ## remove the environment and everything built
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "noisemill needs Python 3.11 or newer, and none was found on" \
		"PATH. Install one, or name it: make PYTHON=/path/to/python3.12 test" >&2; exit 1; }
	@"$(PYTHON)" -m venv "$(VENV)" || { rm -rf "$(VENV)"; echo "$(PYTHON) could not create an" \
		"environment. On Debian and Ubuntu its venv module is a package of its own:" \
		"apt install python3-venv" >&2; exit 1; }

# Two stamps: the demo needs no test tools. Installing those covers the demo as well.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing noisemill into $(VENV) (a few minutes the first time)"
	$(INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing noisemill and its test tools into $(VENV) (a few minutes the first time)"
	$(INSTALL) -e '.[dev]'
	@touch $(VENV)/.installed $@
