# The front door. Everything runs in .venv; nothing is installed elsewhere.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
SOURCES := xpm index/xpm_index runtime/xpm_runtime build/xpm_build

.PHONY: demo test check bench faults embedded evaluate clean

demo: $(VENV)/.core  ## install xpm without torch, install two experts into a new project, ask them
	@sh examples/demo.sh $(CURDIR)/$(BIN)/xpm

test: $(VENV)/.test  ## the whole test suite
	$(BIN)/python -m pytest

check: $(VENV)/.test  ## format, lint, types, import contracts
	$(BIN)/ruff format --check $(SOURCES) tests
	$(BIN)/ruff check $(SOURCES) tests
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.bench  ## the engine beside llama.cpp and Transformers + PEFT at Qwen3-0.6B size (about 10 minutes, a quiet machine)
	$(BIN)/xpm bench speed --work .bench --out .bench/report

faults: $(VENV)/.test  ## inject faults into the file-system calls of every command that changes something (needs strace)
	$(BIN)/python -m tests.faults --max 260

embedded: $(VENV)/.test  ## retrain and repackage the embedded base and experts (see docs/embedded.md for the time)
	$(BIN)/python -m xpm_build.embedded rebuild --work .embedded --out xpm/embedded

evaluate: $(VENV)/.test  ## judge the embedded experts and the base alone on the held-back cases
	$(BIN)/python -m xpm_build.embedded evaluate

KERNELS := $(wildcard runtime/xpm_runtime/native/*.[ch])

$(VENV)/.core: pyproject.toml $(KERNELS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --editable .
	touch $@

$(VENV)/.test: pyproject.toml $(KERNELS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --editable '.[build,test]'
	touch $@ $(VENV)/.core

$(VENV)/.bench: $(VENV)/.test
	$(PIP) install --editable '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) .embedded .bench dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
