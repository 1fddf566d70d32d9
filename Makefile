# `make` lists what there is to do. Everything happens inside this directory, in .venv.

# The newest Python that is new enough; `make test PYTHON=python3.12` chooses another.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$name; break; }; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
PYTEST = $(BIN)/python -m pytest
SEVERAL_AT_ONCE := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# Rooms whose tests start no server of ours and hardly wait for the disk: `make check` measures what these cover.
ENGINES := message protocol sieve journey resolver directory trust
# program:package, as tests/install_programs has them.
PEERS := openssl:openssl postfix:postfix /usr/lib/dovecot/imap:dovecot-imapd /usr/lib/dovecot/pop3:dovecot-pop3d

.DEFAULT_GOAL := help
.PHONY: help venv demo test bench soak fuzz check coverage clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

venv: .venv/installed  ## make .venv and install the server into it

demo: .venv/installed  ## run a server with two domains and two accounts on loopback ports; Ctrl-C stops it
	@trap 'exit 0' INT; $(BIN)/twistd -n --pidfile= mta --config etc/demo.toml

test: .venv/installed-test  ## install what the tests need, then run them
	@tests/install_programs
	$(PYTEST) $(SEVERAL_AT_ONCE) $(PYTEST_ARGS)

bench: .venv/installed-bench  ## measure beside Postfix, Dovecot and aiosmtpd; takes half an hour, with QUICK=1 some minutes
	@tests/install_programs $(PEERS)
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick,--docs --json benchmarks/results/$$(date +%F).json) $(BENCH_ARGS)

soak: .venv/installed-test  ## load, faults and an accounting for MINUTES=60; then the tests of crashes, many clients and an import in full size
	PYTHONPATH=.:tests $(BIN)/python tests/soak/soak.py --minutes $(or $(MINUTES),60) $(SOAK_ARGS)
	SOAK=1 $(BIN)/python -m pytest tests/crash tests/access/test_imap_convergence.py \
		tests/access/test_imap_sync_clients.py tests/service/test_import_servers.py $(PYTEST_ARGS)

fuzz: .venv/installed-fuzz  ## new inputs for every parser, SECONDS=30 for each; ONLY=name,name chooses
	$(BIN)/python tests/fuzz/fuzz.py --seconds $(or $(SECONDS),30) --only '$(ONLY)'

check: .venv/installed-dev  ## format, lint, types, dead code, layers, the table of RFCs, what the tests of the engines cover
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/vulture
	$(BIN)/python -m pytest --quiet tests/test_layering.py tests/test_documents.py
	$(call measured,--quiet tests/dialogs $(addprefix tests/,$(ENGINES)),$(ENGINES))

coverage: .venv/installed-dev  ## what all tests cover, in the servers they start too; takes twice as long as the tests
	@tests/install_programs
	$(call measured,$(PYTEST_ARGS))

# Every Python that sees the variable measures itself: pytest, its workers, the servers they start.
define measured
	$(BIN)/coverage erase
	COVERAGE_PROCESS_START=pyproject.toml $(PYTEST) $(SEVERAL_AT_ONCE) $(1)
	$(BIN)/coverage combine --quiet
	@$(BIN)/python tests/coverage_by_room.py $(2)
endef

clean:  ## remove what make and the tests have made; the demo's mail stays
	rm -rf .venv .fuzz .hypothesis .mypy_cache .ruff_cache .pytest_cache .coverage* dist build
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

.venv/installed-bench: .venv/bin/python pyproject.toml
	$(PIP) install --editable '.[bench]'
	@touch $@ .venv/installed

.venv/installed-dev: .venv/bin/python pyproject.toml
	$(PIP) install --editable '.[test,dev]'
	@touch $@ .venv/installed .venv/installed-test

# Where there is no Atheris for this machine the inputs are mutations of the kept ones.
.venv/installed-fuzz: .venv/bin/python pyproject.toml
	$(PIP) install --editable '.[test,fuzz]'
	@touch $@ .venv/installed .venv/installed-test
