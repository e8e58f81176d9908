# `make demo` and `make test` set up everything they need in $(VENV).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev

.PHONY: demo test check lint format docs mutants parity faults fuzz matrix clean

demo: $(INSTALLED)
	$(BIN)/bnguard compare two_branch_cond

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: lint test

lint: $(INSTALLED_DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(INSTALLED_DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# All that is made from the code: the pages of the catalogue and the rules, the README's table and
# plot.
docs: $(INSTALLED)
	$(BIN)/python -m bnguard.harness.report.docs_pages
	$(BIN)/python -m bnguard.analysis.rules docs/rules
	$(BIN)/bnguard compare two_branch_cond --plot docs/img/two_branch_cond.png

# Break the layers and swap the pairs on purpose; the tests must notice each time. Minutes.
mutants: $(INSTALLED)
	$(BIN)/python tools/mutants.py
	$(BIN)/python tools/swap_check.py

# Every combination of the layers' arguments beside the original layers that are installed here.
parity: $(INSTALLED)
	BNGUARD_PARITY=all $(BIN)/python -m pytest tests/layers 

# Kill, damage and interrupt runs by the hundred; nothing may be lost. Some twenty minutes.
faults: $(INSTALLED)
	$(BIN)/python tools/fault_injection.py

# Random and damaged files for the audit, and every case in every build. Minutes.
fuzz: $(INSTALLED)
	BNGUARD_FILES=2500 $(BIN)/python -m pytest tests/analysis/frontend/test_hostile_files.py
	BNGUARD_CASES=all $(BIN)/python -m pytest tests/analysis/test_catalogue.py

# The suite on every TensorFlow of the matrix, and docs/matrix.md. Hours; needs Python 3.7 to 3.13 on
# PATH as python3.7 to python3.13.
matrix: $(INSTALLED_DEV)
	$(BIN)/python -m nox

# The stamp is written last, so an interrupted installation is tried again.
$(INSTALLED): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

$(INSTALLED_DEV): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find checkpoints -mindepth 1 -maxdepth 1 -type d ! -name reference -exec rm -rf {} +
