# make setup | demo | test | lint   — each sets up what it needs, in .venv beside this file.
#
# The CPU build of PyTorch is the default. `make setup TORCH=cuda` takes the CUDA build instead.

PYTHON ?= python3
TORCH ?= cpu
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(TORCH)

.PHONY: setup demo test lint format clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt constraints-cpu.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "smdt needs Python 3.11 or later; this is $$($(PYTHON) --version). Name one: make setup PYTHON=python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt $(if $(filter cpu,$(TORCH)),-c constraints-cpu.txt) -e '.[dev]' || \
	  { echo "The installation failed. Where pip found no torch with '+cpu', see 'The CPU build of PyTorch' in README.md."; exit 2; }
	rm -f $(VENV)/.installed-* && touch $@

demo: $(STAMP)
	$(BIN)/smdt demo --out demo

test: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix src tests benchmarks
	$(BIN)/ruff format src tests benchmarks

clean:
	rm -rf $(VENV) demo
