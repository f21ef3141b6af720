# The front door. Everything runs in .venv; nothing is installed elsewhere.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
SOURCES := xpm index/xpm_index runtime/xpm_runtime build/xpm_build examples

.PHONY: demo real-demo test check docs bench real gpu faults embedded experts-real evaluate market clean

demo: $(VENV)/.core  ## install xpm without torch, install two experts into a new project, ask them
	@sh examples/demo.sh $(CURDIR)/$(BIN)/xpm

real-demo: $(VENV)/.core  ## the same on SmolLM2-135M-Instruct, with six experts: twelve everyday prompts (fetches 98 MB once)
	@sh examples/real_demo.sh $(CURDIR)/$(BIN)/xpm $(PYTHON) $(CURDIR)/.real

test: $(VENV)/.test  ## the whole test suite
	$(BIN)/python -m pytest --durations=15 -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: $(VENV)/.test  ## format, lint, types (also as Windows and macOS see them), import contracts, links of the documentation
	$(BIN)/ruff format --check $(SOURCES) tests
	$(BIN)/ruff check $(SOURCES) tests
	$(BIN)/mypy
	$(BIN)/mypy --platform win32
	$(BIN)/mypy --platform darwin
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --quiet --strict

docs: $(VENV)/.test  ## write anew what the program says of itself, and build the site into .site
	$(BIN)/python -m tests.docs
	$(BIN)/mkdocs build --quiet --strict

bench: $(VENV)/.bench  ## the engine beside llama.cpp and Transformers + PEFT at Qwen3-0.6B size (about 10 minutes, a quiet machine)
	$(BIN)/xpm bench speed --work .bench --out .bench/report

real: $(VENV)/.test  ## a real model from its GGUF file beside llama.cpp's answers, and experts trained on it beside PEFT (fetches 93 MB once)
	$(BIN)/python -m xpm_build.bench.real .real $(if $(RECORD),--record); status=$$?; test $$status -eq 3 || exit $$status

gpu:  ## parity, placement, speed and memory on a CUDA device (5 minutes; needs PyTorch for CUDA and onnxruntime-gpu in PYTHON)
	PYTHONPATH=index:runtime:build:. $(PYTHON) -m xpm_build.bench.gpu --out .bench/gpu

faults: $(VENV)/.test  ## inject faults into the file-system calls of every command that changes something (needs strace)
	$(BIN)/python -m tests.faults --max 260

embedded: $(VENV)/.test  ## add to the embedded index the versions that it lacks (see docs/how-to/rebuild-what-is-embedded.md)
	$(BIN)/python -m examples.embedded rebuild --work .embedded --out xpm/embedded $(if $(wildcard .real/packages),--real .real/packages)

experts-real: $(VENV)/.test  ## train six experts for SmolLM2-135M-Instruct (about an hour each on a core with AMX, as many at a time as there are cores, goes on where it was; EXPERT=expert-sql for one)
	$(BIN)/python -m examples.embedded real --work .real $(if $(EXPERT),--only $(EXPERT))

evaluate: $(VENV)/.test  ## judge the embedded experts and the base alone on the held-back cases
	$(BIN)/python -m examples.embedded evaluate

market: $(VENV)/.test  ## make 130 small experts and an index of them in .market (goes on where it was; COUNT=12 for the first), and serve its pages
	$(BIN)/python -m examples.market --work .market $(if $(COUNT),--count $(COUNT))
	$(BIN)/xpm market serve .market/demo.git

KERNELS := $(wildcard runtime/xpm_runtime/native/*.[ch] runtime/xpm_runtime/native/kernels/*.[ch])

# uv installs what uv.lock says, in seconds; `--inexact` leaves alone what is already there. PyTorch comes through pip, which takes the
# build that the machine is set up for. RUNTIME=cpu takes the CPU build of ONNX Runtime (on Linux x86-64: 22 MB instead of 244).
RUNTIME ?=
SYNC = $(BIN)/uv sync --quiet --locked --inexact --no-install-package torch \
	$(if $(filter cpu,$(RUNTIME)),--no-install-package onnxruntime-gpu)
ONNX_RUNTIME = $(if $(filter cpu,$(RUNTIME)),$(BIN)/uv pip install --quiet --python $(BIN)/python 'onnxruntime>=1.31')

# uv comes by the pip that is there, which saves the ten seconds that a pip of .venv's own takes; else by one of its own.
$(BIN)/uv:
	test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV)
	$(PYTHON) -m pip --disable-pip-version-check --quiet --python $(BIN)/python install uv 2>/dev/null || \
		{ $(BIN)/python -m ensurepip && $(PIP) install uv; }

$(VENV)/.core: pyproject.toml uv.lock $(KERNELS) | $(BIN)/uv
	$(SYNC) --reinstall-package xpm-experts
	$(ONNX_RUNTIME)
	touch $@

$(VENV)/.test: pyproject.toml uv.lock $(KERNELS) | $(BIN)/uv
	$(SYNC) --reinstall-package xpm-experts --extra build --extra market --extra serve --extra test --extra docs
	$(ONNX_RUNTIME)
	$(BIN)/uv pip install --quiet --python $(BIN)/python pip
	$(PIP) install torch==2.13.0
	touch $@ $(VENV)/.core

$(VENV)/.bench: $(VENV)/.test
	$(SYNC) --extra build --extra market --extra serve --extra test --extra docs --extra bench
	touch $@

clean:
	rm -rf $(VENV) .embedded .market .bench .site dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
