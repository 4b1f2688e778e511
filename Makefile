# Needs only make and Python 3.11 or newer. Every target sets its own environment up, once, and
# again when pyproject.toml changes. PYTHON, VENV, DEMO_VENV and BENCH_VENV may be given on the
# command line. What bench runs: make bench ONLY="mlp gemm" BENCH_OPTIONS="--rounds 3".

PYTHON ?= python3
VENV ?= .venv
DEMO_VENV ?= .venv-demo
BENCH_VENV ?= .venv-bench
comma := ,

STAMP := $(VENV)/.stamp-test
BENCH_STAMP := $(BENCH_VENV)/.stamp-bench
DEMO_STAMP := $(DEMO_VENV)/.stamp-demo

define check_python
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "Adjoint needs Python 3.11 or newer, and $(PYTHON) is not: try make PYTHON=python3.11 ..."; exit 1; }
endef

# $(call environment,folder,extras): make the folder a working virtual environment and install into it.
define environment
@$(1)/bin/python -m pip --version >/dev/null 2>&1 || { $(check_python) && echo "Setting up $(1) ..." && $(PYTHON) -m venv --clear $(1); }
@echo "Installing adjoint[$(2)] into $(1) ..."
@$(1)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$(2)]'
@touch $@
endef

.PHONY: help demo test test-slow features lint format bench

help:
	@echo "make demo       train LeNet on handwritten digits (small environment, about two minutes)"
	@echo "make test       lint, types and the fast tests"
	@echo "make test-slow  the tests that take long"
	@echo "make features   which tests show which row of the feature table"
	@echo "make lint       ruff and pyright"
	@echo "make format     let ruff rewrite what it can"
	@echo "make bench      the benchmarks, side by side with the peers"

$(STAMP): pyproject.toml
	$(call environment,$(VENV),test$(comma)dev)

$(BENCH_STAMP): pyproject.toml
	$(call environment,$(BENCH_VENV),bench)

$(DEMO_STAMP): pyproject.toml
	$(call environment,$(DEMO_VENV),cli$(comma)plot$(comma)data$(comma)vision)

demo: $(DEMO_STAMP)
	@$(DEMO_VENV)/bin/adjoint train lenet

test: lint
	@PYTHONHASHSEED=0 $(VENV)/bin/python -m pytest -m "not slow" -n auto --dist worksteal

test-slow: $(STAMP)
	@$(VENV)/bin/python -m pytest -m slow

features: $(STAMP)
	@$(VENV)/bin/python -m tests.feature_report

lint: $(STAMP)
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

format: $(STAMP)
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

bench: $(BENCH_STAMP)
	@$(BENCH_VENV)/bin/python bench/run.py $(BENCH_OPTIONS) $(ONLY)
