# make demo and make test each do everything on a machine with Python 3.11+, make and git.
PYTHON   ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
              $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PIP_ARGS ?=
BIN      := .venv/bin
PIP      := $(BIN)/python -m pip --disable-pip-version-check install -q $(PIP_ARGS) -c constraints.txt
TESTS    ?= tests

.PHONY: help demo install test test-slow check bench-env wheel clean

help:
	@echo "make demo       set everything up, then raw text -> models -> report (about 5 minutes after the install)"
	@echo "make test       set everything up, then the tests (under 10 minutes on two cores)"
	@echo "make install    .venv with every extra and the development tools"
	@echo "make check      lint, types, layers, licences of the samples"
	@echo "make test-slow  kill suites, the wheel in an empty environment, servers, the browser"
	@echo "make bench-env  .bench with the peers that benchmarks/ compares with"

demo: .venv/.base
	$(BIN)/yanmo demo

test: .venv/.dev
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -n 2 --dist loadscope -m "not slow" $(TESTS)

test-slow: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope -m slow $(TESTS)

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_licences.py

install: .venv/.dev

wheel: .venv/.dev
	$(BIN)/python -m build --wheel -o dist .

.venv/bin/python:
	@[ -n "$(PYTHON)" ] || { echo "make: Python 3.11 or newer is needed and none was found (python3, python3.11 … python3.13);" \
	  "install one, or name it: make demo PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: $(PYTHON) has no venv module; install it:" \
	  "'apt install python3-venv' (Debian, Ubuntu), 'dnf install python3' (Fedora), or a Python from python.org" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip --disable-pip-version-check install -q --upgrade "pip>=25.1"

.venv/.base: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e .
	@touch $@

.venv/.dev: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e '.[corpus,harness,hf,mlflow,models,search,spark,tasks,train,wandb]' --group dev
	@touch .venv/.base $@

# The peers live apart, pinned, so that their demands never touch ours.
bench-env: .bench/.ready .bench-corpus/.ready
.bench/.ready: benchmarks/peers.txt benchmarks/peers-alone.txt constraints.txt
	$(PYTHON) -m venv .bench
	.bench/bin/python -m pip --disable-pip-version-check install -q $(PIP_ARGS) -c constraints.txt -r benchmarks/peers.txt
	.bench/bin/python -m pip --disable-pip-version-check install -q $(PIP_ARGS) --no-deps -r benchmarks/peers-alone.txt
	@touch $@

.bench-corpus/.ready: benchmarks/peers-corpus.txt
	$(PYTHON) -m venv .bench-corpus
	.bench-corpus/bin/python -m pip --disable-pip-version-check install -q $(PIP_ARGS) -r benchmarks/peers-corpus.txt
	@touch $@

clean:
	rm -rf .venv .bench .bench-corpus dist build runs
