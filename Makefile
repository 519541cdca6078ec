# make setup   what the lab and the tests need: Debian packages, and a virtual environment in .venv
# make demo    replace all etcd members under a live Patroni cluster, and prove that nobody noticed
# make drill   lose the majority of etcd in the lab, and bring it back without losing a committed row
# make test    all tests, on real etcd, Patroni and PostgreSQL
# make etcd-versions, make test-versions   more etcd versions, and the tests on real etcd with each
# make patroni-versions, make test-patronis   older Patroni versions, and the recovery, demo and shield with each
# make bench   this tool, the naive way and the floor, side by side

# What is installed has its bytecode, and so has what is run and measured here: it halves the start of a command.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.installed
NET ?=
# Tests mostly wait for etcd and Patroni, so a few more at a time than there are processors. A file's tests
# share servers and stay together.
JOBS ?= 3
PYTEST := $(PYTHON) -m pytest -n $(JOBS) --dist loadfile

.PHONY: setup packages demo drill test etcd-versions test-versions patroni-versions test-patronis test-kills bench lint type format check clean

setup: packages $(STAMP)

# Only what is missing is installed, so that a machine that has it all needs no root and no network.
packages:
	@sh .ci/packages

$(STAMP): setup.cfg pyproject.toml
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --upgrade 'pip>=23'
	$(PYTHON) -m pip install --quiet --editable '.[dev]'
	$(PYTHON) -m compileall -q patroni_etcd_reconfig
	touch $@

demo: setup
	$(VENV)/bin/patronictl-etcd lab demo $(if $(NET),--net $(NET)) $(DEMO)

drill: setup
	$(VENV)/bin/patronictl-etcd lab drill $(if $(NET),--net $(NET)) $(DRILL)

test: setup
	$(PYTEST) $(TESTS)

# More etcd versions side by side, and the tests on real etcd with each of them (about half an hour).
etcd-versions: setup
	sh .ci/etcd-versions

test-versions: etcd-versions
	ETCD_DIRS="$$(ls -d $(CURDIR)/.etcd/*/ | tr '\n' ':')" $(PYTEST) -m etcd $(TESTS)

# Older Patroni versions side by side, and the tests that depend on Patroni's version with each (about an hour).
patroni-versions: setup
	sh .ci/patroni-versions

test-patronis: patroni-versions
	PATRONI_DIRS="$$(ls -d $(CURDIR)/.patroni/*/ | tr '\n' ':')" $(PYTEST) -m patroni $(TESTS)

# The tool killed before, within and after every step of every change, on every etcd there is (hours). The second
# run looks whether the first has killed every kind of step. KILLS='-k "cycle and resume"' runs a part of the first.
KILLED = .killed-kinds
test-kills: export ALL_KILLS = $(CURDIR)/$(KILLED)
test-kills: export ETCD_DIRS = $(shell ls -d $(CURDIR)/.etcd/*/ 2>/dev/null | tr '\n' ':')
test-kills: setup
	rm -f $(KILLED)
	$(PYTHON) -m pytest -n $(JOBS) --dist worksteal tests/integration/test_kill_points.py -k killed_at_every_step $(KILLS)
	$(if $(KILLS),,$(PYTHON) -m pytest tests/integration/test_kill_points.py -k every_kind_of_step_was_killed)

# Half an hour or more; BENCH=replace measures one scenario, BENCH_DB=64MB makes the large database a small one.
BENCH_DB ?= 2GB
bench: setup
	$(PYTHON) -m patroni_etcd_reconfig.lab.bench $(BENCH) --size $(BENCH_DB) $(if $(BENCH_TMP),--tmp $(BENCH_TMP))

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

type: $(STAMP)
	$(VENV)/bin/mypy

format: $(STAMP)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

check: lint type test

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
