# make setup | demo | test | lint   — each sets up what it needs, in .venv beside this file.
# make test-mindspore               — the same for MindSpore, which needs an environment of its own, in .venv-mindspore.
#
# The CPU build of PyTorch is the default. `make setup TORCH=cuda` takes the CUDA build instead.

PYTHON ?= python3
TORCH ?= cpu
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(TORCH)
MINDSPORE := .venv-mindspore
MINDSPORE_STAMP := $(MINDSPORE)/.installed-$(TORCH)

.PHONY: setup demo test test-mindspore lint format clean

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

# Networks are compared in one process and all else beside it in a second, each on one thread.
test-mindspore: $(MINDSPORE_STAMP)
	@export OMP_NUM_THREADS=1; log=$$(mktemp); \
	  $(MINDSPORE)/bin/python -m pytest tests/mindspore --durations 10 --ignore tests/mindspore/test_networks.py >"$$log" 2>&1 & beside=$$!; \
	  $(MINDSPORE)/bin/python -m pytest --durations 10 tests/mindspore/test_networks.py; networks=$$?; \
	  wait $$beside; others=$$?; cat "$$log"; rm -f "$$log"; \
	  test $$networks -eq 0 && test $$others -eq 0

$(MINDSPORE_STAMP): pyproject.toml constraints-mindspore.txt constraints-cpu.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "smdt needs Python 3.11 or later; this is $$($(PYTHON) --version). Name one: make test-mindspore PYTHON=python3.11"; exit 2; }
	test -x $(MINDSPORE)/bin/python || $(PYTHON) -m venv $(MINDSPORE)
	$(MINDSPORE)/bin/python -m pip install --quiet --no-compile -c constraints-mindspore.txt $(if $(filter cpu,$(TORCH)),-c constraints-cpu.txt) \
	  -e . mindspore pytest hypothesis || \
	  { echo "The installation failed. Where pip found no torch with '+cpu', see 'The CPU build of PyTorch' in README.md;"; \
	    echo "where it found no mindspore 2.8.0 for this $$($(PYTHON) --version), try make test-mindspore PYTHON=python3.11."; exit 2; }
	rm -f $(MINDSPORE)/.installed-* && touch $@

lint: $(STAMP)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix src tests benchmarks
	$(BIN)/ruff format src tests benchmarks

clean:
	rm -rf $(VENV) $(MINDSPORE) demo
