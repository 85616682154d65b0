# Everything here sets itself up: a virtual environment in .venv, made again when what it is built from changes.
#   make audit   audit scikit-learn's digits with 64 shadow models; the report lands in report/
#   make test    the whole test suite
#   make lint    style, types, import contracts
#   make sanitize   test the C++ engine under sanitizers, its AMX code on any processor with AVX-512
#   make bench   time the ops against their rivals; results land in benchmarks/results/
# Another Python: make PYTHON=python3.12 test

SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: help audit test lint sanitize bench package clean

PYTHON ?= $(firstword $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$p; done) python3)
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
BUILT_FROM := pyproject.toml setup.py constraints.txt $(wildcard csrc/*.cpp csrc/*.h)

# Two test processes share the machine, so each gets one thread for linear algebra; miafast's own kernels use them all.
TEST_PROCESSES ?= 2
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

help:
	@sed -n '/^#   make/s/^# *//p' Makefile

audit: .venv/for-audit
	$(BIN)/miafast audit --data digits --shadows 64 --out report/

test: .venv/for-development
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(TEST_PROCESSES) -p no:benchmark $(PYTEST_ARGS)

lint: .venv/for-development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/clang-format --dry-run -Werror $(wildcard csrc/*.cpp csrc/*.h csrc/cuda/* tests/*.h)

sanitize: .venv/for-development
	$(ONE_THREAD) TEST_PROCESSES=$(TEST_PROCESSES) bash .ci/sanitize $(BIN)/python

bench: .venv/for-development
	$(BIN)/python -m benchmarks ops $(BENCH_ARGS)

# Source archive and wheel, then the wheel alone in an empty environment.
package: .venv/for-development
	bash .ci/package $(BIN)/python

.venv/bin/python:
	@$(PYTHON) .ci/prerequisites.py
	$(PYTHON) -m venv .venv

.venv/for-audit: .venv/bin/python $(BUILT_FROM)
	@echo 'Installing miafast into .venv: once, a few minutes at most.'
	$(PIP_INSTALL) --editable '.[train,report]'
	@touch $@

.venv/for-development: .venv/bin/python $(BUILT_FROM)
	@echo 'Installing miafast and its development tools into .venv: once, a few minutes at most.'
	$(PIP_INSTALL) --editable '.[train,data,report,dp,dev]'
	@touch $@ .venv/for-audit

clean:
	rm -rf .venv build dist report *.egg-info miafast/_native*.so
