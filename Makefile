# `make demo` and `make test` set up all they need: the virtual environment and, for tests, a Chromium.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: help demo test lint test-fast test-browser bench-import bench-duplicates bench-review bench-paint test-faults screenshots wheel clean

help: ## Say what there is to make
	@grep -hE '^[a-z0-9-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-17s %s\n", $$1, $$2}'

demo: $(VENV)/.installed ## Start the workbench on a small real data set (ARGS="--port 9000 --no-browser")
	@$(BIN)/workbench demo --home demo-data $(ARGS)

test: lint ## Everything that CI runs
	@sh tests/chromium.sh
	@$(BIN)/python -m pytest -n 2 --dist worksteal -q

lint: $(VENV)/.installed-test ## Format, rules, types, layers
	@$(BIN)/ruff format --check -q . && $(BIN)/ruff check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache > .lint-imports.log || (cat .lint-imports.log; exit 1)
	@rm -f .lint-imports.log

test-fast: $(VENV)/.installed-test ## Tests without browser and slow ones
	@$(BIN)/python -m pytest -n 2 -q -m "not browser and not slow"

test-browser: $(VENV)/.installed-test ## Only the tests in a real Chromium
	@sh tests/chromium.sh
	@$(BIN)/python -m pytest -q -m browser

test-faults: $(VENV)/.installed-test ## Kill server and worker 200 times under load (ARGS="--kills 20 --seed 7")
	@$(BIN)/python -m tests.kills $(ARGS)

bench-import: $(VENV)/.installed ## Measure imports beside the bare floor
	@$(BIN)/python benchmarks/imports.py $(ARGS)

bench-duplicates: $(VENV)/.installed ## Measure the search for near copies (ARGS="folder IMAGES --seed 0 --out OUT")
	@$(BIN)/python benchmarks/duplicates.py $(ARGS)

bench-review: $(VENV)/.installed ## Measure a decision and the next card (ARGS="35000 1000000 --homes FOLDER --label-studio VENV")
	@$(BIN)/python -m benchmarks.review $(or $(ARGS),35000 1000000)

bench-paint: $(VENV)/.installed-test ## Measure key to painted next image, without and with network delay (ARGS="--decisions 300")
	@sh tests/chromium.sh
	@$(BIN)/python -m benchmarks.paint $(ARGS)

screenshots: $(VENV)/.installed-test ## Take the README's pictures anew from the demo
	@sh tests/chromium.sh
	@$(BIN)/python -m tests.browser.readme_pictures

wheel: $(VENV)/.installed-test ## Build the installable wheel into dist/
	@$(BIN)/python -m pip wheel -q --no-deps -w dist .

clean: ## Remove what make made (data folders stay)
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name it with make PYTHON=...")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	@echo "Installing the workbench into $(VENV) (a minute or two) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check torch==2.13.0
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e ".[test]"
	@touch $@
