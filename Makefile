# `make demo` and `make test` set up everything they need in $(VENV).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev

# Each command that a test starts would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test quick check lint format docs site coverage release-check mutants parity faults fuzz \
	graphs matrix clean

demo: $(INSTALLED)
	@$(BIN)/bnguard compare two_branch_cond

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The quick loop: the tests that are not marked `slow`. Some 40 s on two idle cores.
quick: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

check: lint test

lint: $(INSTALLED_DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(VALIDATE) vendor.github-actions action.yml
	$(VALIDATE) vendor.github-workflows .github/workflows/*.yml
	$(VALIDATE) custom.github-workflows-require-timeout .github/workflows/*.yml
	$(VALIDATE) vendor.github-issue-forms $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*))
	$(VALIDATE) vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(VALIDATE) vendor.dependabot .github/dependabot.yml
	$(VALIDATE) vendor.citation-file-format CITATION.cff
	$(BIN)/pre-commit validate-manifest .pre-commit-hooks.yaml
	$(BIN)/pre-commit validate-config .pre-commit-config.yaml
	$(BIN)/zizmor --offline --no-progress --quiet .github action.yml
	$(BIN)/repo-review --show err .
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

VALIDATE = $(BIN)/check-jsonschema --quiet --builtin-schema

format: $(INSTALLED_DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Everything that is generated from the code: the pages of the catalogue and the rules, parts of other
# pages, and the figures.
docs: $(INSTALLED)
	$(BIN)/python -m bnguard.harness.report.docs_pages
	$(BIN)/python -m bnguard.analysis.rules docs/rules
	$(BIN)/bnguard compare two_branch_cond --plot docs/img/two_branch_cond.png
	@if command -v chromium > /dev/null; \
	then $(BIN)/python tools/page_screenshot.py docs/img/page.png; \
	else echo "no chromium on PATH: docs/img/page.png is as it was"; fi

# The site of the docs, with each change as it is saved: http://127.0.0.1:8000
site: $(INSTALLED_DEV)
	$(BIN)/mkdocs serve

# The suite, and which lines of bnguard/ it ran, also in the processes that tests start.
coverage: $(INSTALLED_DEV)
	$(BIN)/coverage erase
	COVERAGE_FILE=$(CURDIR)/.coverage $(BIN)/coverage run -m pytest -n 2 --dist loadfile -m "not full_disk"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --skip-empty

# Build the sdist and the wheel in dist/, check both, and try the wheel in a fresh environment.
release-check: $(INSTALLED_DEV)
	rm -rf dist build/lib
	$(BIN)/python -m build --quiet
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*-py3-none-any.whl
	$(BIN)/check-manifest
	$(BIN)/python -m pip check
	$(BIN)/python tools/try_wheel.py dist/*.whl

# Break the layers and swap the two files of each case; the tests must fail each time. Minutes.
mutants: $(INSTALLED)
	$(BIN)/python tools/mutants.py
	$(BIN)/python tools/swap_check.py

# Compare the layers with the original layers installed here, for every combination of arguments.
parity: $(INSTALLED)
	BNGUARD_PARITY=all $(BIN)/python -m pytest tests/layers

# Kill, interrupt and starve runs, damage checkpoints, and write the table of the results. Minutes.
faults: $(INSTALLED)
	PYTHONPATH=.:tests $(BIN)/python tools/fault_injection.py --write docs/reliability.md

# Audit mutated and damaged files and random programs, and run all that `make test` samples. Minutes.
fuzz: $(INSTALLED)
	PYTHONPATH=.:tests $(BIN)/python tools/fuzz/graphs.py evaluate --inputs 20000
	PYTHONPATH=.:tests $(BIN)/python tools/fuzz/graphs.py audit --inputs 5000
	PYTHONPATH=.:tests $(BIN)/python tools/fuzz/checkpoints.py --inputs 5000
	BNGUARD_FILES=2500 $(BIN)/python -m pytest tests/analysis/frontend/test_hostile_files.py \
		tests/cli/test_hostile_checkpoints.py
	BNGUARD_CASES=all $(BIN)/python -m pytest tests/analysis tests/cases tests/cli/test_reestimate.py \
		tests/guard tests/layers tests/reestimation tests/test_graphs.py tests/watch
	BNGUARD_PROGRAMS=300 $(BIN)/python -m pytest tests/analysis/test_against_session.py \
		tests/analysis/test_healthy_programs.py

# The graphs on which tools/compare_reports.py compares two versions of the audit. Minutes.
graphs: $(INSTALLED)
	$(BIN)/python tools/compare_reports.py generate build/graphs

# Run the suite on every TensorFlow of the matrix, and write docs/matrix.md. Hours; needs Python 3.7
# to 3.13 on PATH as python3.7 to python3.13.
matrix: $(INSTALLED_DEV)
	$(BIN)/python -m nox

# The installer's output is shown only if it fails. The stamp is written last, so an interrupted
# installation is tried again.
PIP_INSTALL = $(BIN)/python -m pip install --disable-pip-version-check
LOG := $(VENV)/install.log

$(INSTALLED): setup.cfg pyproject.toml
	@echo "Installing bnguard and its test dependencies in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) --editable '.[test]' > $(LOG) 2>&1 || { cat $(LOG); exit 1; }
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	@$(PIP_INSTALL) --editable '.[dev,docs]' > $(LOG) 2>&1 || { cat $(LOG); exit 1; }
	@touch $@

clean:
	rm -rf $(VENV) build dist .coverage* *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find checkpoints -mindepth 1 -maxdepth 1 -type d ! -name reference -exec rm -rf {} +
