# `make quick` and `make test` set everything up in .venv the first time, and do not install again after that.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help quick test lint build rehearse setup clean

help:
	@echo "make quick   the whole way on made-up faces, in output/quick"
	@echo "make test    all tests"
	@echo "make lint    ruff"
	@echo "make build   src/ -> kernel/fer2013.py"
	@echo "make rehearse  the built script as a kernel would run it: read-only, no network, a deadline"
	@echo "make clean   deletes .venv and what quick left"

quick: setup
	$(BIN)/python -m src quick --output output/quick

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

rehearse: setup
	$(BIN)/python -m tools.rehearse

build:
	$(PYTHON) build.py

setup: .venv/installed

.venv/installed: requirements.txt
	@$(PYTHON) -c "import sys; sys.version_info >= (3, 11) or sys.exit('Python 3.11 or newer is needed; name it: make PYTHON=python3.12 ...')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

clean:
	rm -rf .venv output/quick
