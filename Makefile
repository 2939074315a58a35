# Everything runs from a virtual environment that these targets make; only python3 (3.11+) and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test check docs bench clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(VENV)/run: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the planner into $(VENV) …"
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/dev: $(VENV)/run
	@echo "Installing what the tests need …"
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e .[dev]
	@touch $@

demo: $(VENV)/run  ## a season of three clinics in about a minute, on the embedded log
	@$(BIN)/planner demo

test: $(VENV)/dev  ## every test, real Kafka among them (Java 17+, or a container engine)
	@$(BIN)/python -m pytest -q

check: $(VENV)/dev  ## lint, types, import contracts, default catalogue, documents up to date
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/planner check
	@$(BIN)/python docs/generate.py --check

docs: $(VENV)/dev  ## write the generated documents anew
	@$(BIN)/python docs/generate.py

bench: $(VENV)/dev  ## speed and memory, as tables (see benchmarks/README.md)
	@$(BIN)/python -m benchmarks

clean:  ## remove what was built
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
