# Everything a person types; each target makes its own .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGE := $(VENV)/.package
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow check bench campaign docs clean

$(PACKAGE): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable .
	touch $(PACKAGE)

$(STAMP): $(PACKAGE)
	$(BIN)/pip install --quiet --editable '.[dev,docs]'
	touch $(STAMP)

demo: $(PACKAGE)  ## train on embedded photographs for two minutes, and see what it bought
	$(BIN)/byol demo

test: $(STAMP)  ## the tests, in a few minutes
	$(BIN)/python -m pytest

test-slow: $(STAMP)  ## the tests that take minutes each
	$(BIN)/python -m pytest -m slow

check: $(STAMP)  ## lint, types, import rules, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --quiet --strict

bench: $(STAMP)  ## throughput beside the limit, evaluation, startup, ways of an update, two processes, and the peers side by side
	$(BIN)/pip install --quiet --editable '.[bench]'
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/limits.py
	$(BIN)/python benchmarks/evaluation_speed.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/steps.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/peers.py

campaign: $(STAMP)  ## try the faults that a run may meet and write what came of each; an hour
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/faults/run.py
	$(BIN)/python benchmarks/tables.py

docs: $(STAMP)  ## the documentation as a site, in site/
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) site dist build
