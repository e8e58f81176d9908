# `make demo` and `make test` set up everything they need in $(VENV).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test check format plot clean

demo: $(INSTALLED)
	$(BIN)/bnguard compare two_branch_cond

test: $(INSTALLED)
	$(BIN)/python -m pytest

check: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

format: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

plot: $(INSTALLED)
	$(BIN)/bnguard compare two_branch_cond --plot docs/img/two_branch_cond.png

# The stamp is written last, so an interrupted installation is tried again.
$(INSTALLED): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find checkpoints -mindepth 1 -maxdepth 1 -type d ! -name reference -exec rm -rf {} +
