# The first target that needs Python packages installs them into .venv, once.
PYTHON ?= python3
BIN := .venv/bin
# Two processes share the test files, with one thread of torch each: whole files, since the tests of a file share runs.
PYTEST := -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: help quick test test-kernel test-newest lint build rehearse setup clean

help:
	@echo "make quick        trains, blends, writes and scores on synthetic faces, in output/quick"
	@echo "make test         all tests, with the versions of constraints.txt"
	@echo "make test-kernel  all tests, with the versions of Kaggle's kernels, in .venv-kernel"
	@echo "make test-newest  all tests, with the newest release of every package, in .venv-newest"
	@echo "make lint         ruff"
	@echo "make build        src/ -> kernel/fer2013.py"
	@echo "make rehearse     the built script under a kernel's limits: read-only, no network, a deadline"
	@echo "make clean        deletes the environments and output/quick"
	@echo "The first one installs the packages: about 3 GB to download, 6 GB on the disk, 3 to 15 minutes."
	@echo "Another Python: make PYTHON=python3.12 ..."

quick: setup
	$(BIN)/python -m src quick --output output/quick

test test-kernel test-newest: export OMP_NUM_THREADS := 1

test: setup
	$(BIN)/python $(PYTEST)

test-kernel: .venv-kernel/installed
	.venv-kernel/bin/python $(PYTEST)

test-newest:
	$(call create,.venv-newest)
	cat requirements.txt requirements-tracking.txt | sed 's/,<[^ ]*//' > .venv-newest/requirements.txt
	$(call install,.venv-newest,--upgrade -r .venv-newest/requirements.txt)
	.venv-newest/bin/python $(PYTEST)

lint: setup
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

rehearse: setup
	$(BIN)/python -m tools.rehearse

build:
	$(PYTHON) build.py

setup: .venv/installed

# Creates the environment $(1).
define create
	@$(PYTHON) -c "import sys; sys.version_info >= (3, 11) or sys.exit('Python 3.11 or newer is needed; name it: make PYTHON=python3.12 ...')"
	@echo "Installing into $(1), 3 to 15 minutes: about 3 GB to download,"
	@echo "6 GB on the disk with torch's GPU libraries."
	$(PYTHON) -m venv $(1)
endef

# Installs $(2) into the environment $(1): with pip's progress on a terminal, else in silence.
define install
	@$(1)/bin/python -m pip install $$(test -t 1 || echo --quiet) --disable-pip-version-check $(2)
	@echo "Installed: $$(du -sh $(1) | cut -f1) in $(1)"
endef

.venv/installed: requirements.txt requirements-tracking.txt constraints.txt
	$(call create,.venv)
	$(call install,.venv,-r requirements.txt -r requirements-tracking.txt -c constraints.txt)
	@touch $@

.venv-kernel/installed: requirements.txt requirements-tracking.txt constraints-kernel.txt
	$(call create,.venv-kernel)
	$(call install,.venv-kernel,-r requirements.txt -r requirements-tracking.txt -c constraints-kernel.txt)
	@touch $@

clean:
	rm -rf .venv .venv-kernel .venv-newest output/quick
