# demo and test set everything up on a fresh machine: Python 3.11, make and pip are enough.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: demo test check fix lock
.DEFAULT_GOAL := demo

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: .venv/installed
	$(BIN)/prefloop demo

test: .venv/installed
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

check: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports

fix: .venv/installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The CPU lock needs a pip index that offers torch's CPU wheel.
lock: .venv/installed
	$(PYTHON) -m venv .venv/lock
	.venv/lock/bin/pip install --quiet --upgrade pip
	.venv/lock/bin/python .ci/lock.py
