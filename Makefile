# `make` lists what there is to do. Everything happens inside this directory, in .venv.

# The newest Python that is new enough; `make test PYTHON=python3.12` chooses another.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$name; break; }; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help venv demo test soak check clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

venv: .venv/installed  ## make .venv and install the server into it

demo: .venv/installed  ## run a server with two domains and two accounts on loopback ports; Ctrl-C stops it
	@trap 'exit 0' INT; $(BIN)/twistd -n --pidfile= mta --config etc/demo.toml

test: .venv/installed-test  ## install what the tests need, then run them
	@tests/install_programs
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

soak: .venv/installed-test  ## the tests of crashes and of many clients at once in full size; takes an hour
	SOAK=1 $(BIN)/python -m pytest tests/crash tests/access/test_imap_convergence.py \
		tests/access/test_imap_sync_clients.py $(PYTEST_ARGS)

check: .venv/installed-dev  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:  ## remove what make and the tests have made; the demo's mail stays
	rm -rf .venv .hypothesis .mypy_cache .ruff_cache dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@if [ -z "$(PYTHON)" ]; then echo "No Python 3.11 or newer was found; install one, or name it: make PYTHON=/path/to/python"; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml
	$(PIP) install --editable .
	@touch $@

.venv/installed-test: .venv/bin/python pyproject.toml
	$(PIP) install --editable '.[test]'
	@touch $@ .venv/installed

.venv/installed-dev: .venv/bin/python pyproject.toml
	$(PIP) install --editable '.[test,dev]'
	@touch $@ .venv/installed .venv/installed-test
