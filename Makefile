# make demo and make test work in a fresh clone: each makes its own environment in .venv first.
#
# Variables:  PYTHON=python3.12     which Python makes the environment (3.10 or newer)
#             TORCH_INDEX=URL       another package index for torch, such as https://download.pytorch.org/whl/cpu
#             PIP_ARGS="..."        further arguments of every pip install
#             PYTEST_ARGS="..."     further arguments of pytest

PYTHON ?= python3
TORCH_INDEX ?=
PIP_ARGS ?=
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest
PIP_INSTALL = $(BIN)/python -m pip install --quiet -c constraints.txt $(PIP_ARGS)
# A process for each core, four at most: each holds torch. A file stays in one process, with what its tests share.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile
DEMO := bids_nodereg/data/demo
DEMO_OUTPUT := demo-output

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# One environment: two pip runs at a time would spoil it.
.NOTPARALLEL:
.PHONY: help demo test lowest quality scan container outcomes reliability cluster fuzz demo-data clean distclean

help:
	@echo "make demo       register the demo data (two simulated subjects), say where the report is"
	@echo "make test       run the tests"
	@echo "make lowest     run the tests of files and numbers with the oldest versions that pyproject.toml admits"
	@echo "make quality    check style, types and import directions"
	@echo "make scan       look for insecure code, secrets and vulnerable packages; say what was skipped"
	@echo "make container  build the container image and check it (root, Debian packages, 10 minutes; or says why not)"
	@echo "make reliability   kill a hundred runs at random moments and resume them (20 minutes)"
	@echo "make cluster    disturb an array of 40 participants under a Slurm of its own (root, Debian's slurm packages)"
	@echo "make outcomes   run the tests of faults and bad input, write docs/reliability-table.md"
	@echo "make fuzz       fuzz every reader (10 to 30 minutes), write docs/results/fuzz.md"
	@echo "make demo-data  make the demo data again, in $(DEMO)"
	@echo "make clean      remove results and caches;  make distclean  also removes the environments"

demo: $(VENV)/.ready-run
	$(BIN)/python run.py demo $(DEMO_OUTPUT)
	@echo "Reports (open in a browser):"
	@ls $(CURDIR)/$(DEMO_OUTPUT)/*.html

test: $(VENV)/.ready-test
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

# In an environment of its own (6 GB: that torch comes with CUDA). uv, because pip cannot ask for the oldest.
lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet $(PIP_ARGS) uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --editable '.[test]'
	$(LOWEST)/bin/python -m pytest tests/imaging tests/registration $(PYTEST_ARGS)

quality: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

scan: $(VENV)/.ready-scan
	$(BIN)/python .ci/scan.py

container: $(VENV)/.ready-test
	$(BIN)/python .ci/container.py

# What the tests leave out because it takes minutes: a hundred random kills.
reliability: $(VENV)/.ready-test
	$(BIN)/python -m pytest -m slow tests/reliability $(PYTEST_ARGS)

# -s shows what happens when: it takes from some minutes to half an hour.
cluster: $(VENV)/.ready-test
	$(BIN)/python -m pytest -s -m '' tests/cluster $(PYTEST_ARGS)

# The table is of tests that passed: a failure leaves the old one.
outcomes: $(VENV)/.ready-test
	rows=$$(mktemp) && trap 'rm -f '$$rows EXIT && NODEREG_OUTCOMES=$$rows $(BIN)/python -m pytest -p no:cacheprovider -m '' $(PARALLEL) $(PYTEST_ARGS) && $(BIN)/python -m tests.outcomes $$rows docs/reliability-table.md

fuzz: $(VENV)/.ready-fuzz
	$(BIN)/python -m fuzz fuzz-corpus

demo-data: $(VENV)/.ready-demo-data
	$(BIN)/python -m bids_nodereg.data.build_demo $(DEMO)

clean:
	rm -rf $(DEMO_OUTPUT) fuzz-corpus build dist *.egg-info
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)*/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) $(LOWEST)

# ---- environments: a stamp file says what has been installed ----------------------------------------

# torch stands in a stamp of its own, because only it may come from another index, which does not hold what
# torch needs in the versions of constraints.txt: that comes with the package's own dependencies.
$(VENV)/.ready-torch: constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "nodereg: '$(PYTHON)' was not found. Install Python 3.10 or newer, or say make PYTHON=/path/to/python3" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "nodereg: needs Python 3.10 or newer, '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Say make PYTHON=/path/to/python3" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "nodereg: '$(PYTHON)' has no venv module. On Debian or Ubuntu: apt-get install python3-venv" >&2; \
	  exit 1; }
	@echo "nodereg: making the environment $(VENV) (once; torch is large, this takes some minutes)"
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) $(if $(TORCH_INDEX),--no-deps --index-url $(TORCH_INDEX)) torch
	@touch $@

$(VENV)/.ready-run: $(VENV)/.ready-torch pyproject.toml
	$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/.ready-%: $(VENV)/.ready-torch pyproject.toml
	$(PIP_INSTALL) --editable '.[$*]'
	@touch $@
