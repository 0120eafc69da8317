# `make demo` and `make test` do all their set-up; a second call repeats none of it.
PYTHON ?= python3
# Which PyTorch to install, before anything that depends on it: choose a CPU or CUDA build here,
# for example  make demo TORCH="torch --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_OUT ?= demo-out

CORE_SOURCES := CMakeLists.txt pyproject.toml $(wildcard csrc/*)

.PHONY: demo test lint install clean

demo: $(VENV)/.kbit-installed
	$(BIN)/kbit demo --out $(DEMO_OUT)

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.kbit-test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(VENV)/.kbit-installed

$(VENV)/.torch-installed:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(TORCH)
	touch $@

$(VENV)/.kbit-installed: $(VENV)/.torch-installed $(CORE_SOURCES)
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.kbit-test-installed: $(VENV)/.kbit-installed
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@

clean:
	rm -rf build $(DEMO_OUT)
