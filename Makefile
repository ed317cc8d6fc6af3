# make demo: set-up, the whole pipeline on the drawn playground, the comparison table.
# make test: set-up, lint, types, tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
export OMP_WAIT_POLICY := passive
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup git demo test lint types tests slow faults release

# An environment that was moved or copied with its folder runs the old place's files.
ifneq (,$(wildcard $(VENV)/bin/fdbpl))
ifeq (,$(shell grep -F '$(realpath $(VENV))/bin/python' $(VENV)/bin/fdbpl))
.PHONY: $(VENV)/ready
MOVED := --clear
endif
endif

help:
	@echo "make demo   set up, train and compare all methods on eleven drawn datasets"
	@echo "make test   set up, then lint, types and tests"
	@echo "make slow   the tests that take minutes: the whole pipeline, real servers"
	@echo "make faults   3,000 faults put into a small project; the table of docs/reliability.md"
	@echo "make release  those of a wheel, a container's environment, packages of others"

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "$(PYTHON) is " + sys.version.split()[0] + ", wanted Python 3.11 or later. Say: make PYTHON=python3.12")'
	@echo "Set-up, once: about 6 GB of packages into $(VENV), 2 to 10 minutes with a fast network."
	$(PYTHON) -m venv $(MOVED) $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q --upgrade pip
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

git:
	@git rev-parse --git-dir > /dev/null || { echo "$(CURDIR): DVC needs a git repository, and git. Say: git init"; exit 2; }

demo: git setup
	@echo "Eleven drawn datasets, two tiny CLIP models, nineteen methods, three seeds: 4 to 9 minutes on two cores."
	@echo "Nothing is downloaded. What is done already is skipped."
	python -m flows.lanes
	fdbpl record
	@cat metrics/compare.md

test: lint types tests

lint: setup
	ruff check .
	ruff format --check .

types: setup
	mypy

tests: setup
	pytest

slow: setup
	pytest -m "slow and not release"

faults: setup
	python -m tests.faults --trials 3000 --folder .fdbpl/faults --page docs/reliability.md

release: setup
	pytest -m release
