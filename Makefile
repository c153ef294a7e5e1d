# Everything runs in .venv, which `make install` creates from requirements.lock.
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := salesforce_pipelines salesforce_pipelines_tests benchmarks
CONFORMANCE := salesforce_pipelines_tests/local_org/conformance
CLIENTS := $(CONFORMANCE)/clients

.DEFAULT_GOAL := help
.PHONY: help install demo congress dev test clients conformance check format lint types quick bench \
	lock clean

help: ## Say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: .venv/installed .env ## Create .venv and install everything into it

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv (a minute or two the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

.env:
	@umask 077; sed 's#@HERE@#$(CURDIR)#' .env.example > $@
	@mkdir -p .home/dagster

demo: install ## Run the whole story on a local org
	@$(BIN)/salesforce-pipelines demo

congress: install ## Run the main job over real people only
	@$(BIN)/salesforce-pipelines demo --congress

dev: install ## Start the local org and the Dagster UI (http://127.0.0.1:3000)
	@$(BIN)/salesforce-pipelines dev $(if $(PORT),--port $(PORT)) $(if $(ORG_PORT),--org-port $(ORG_PORT))

test: install ## Run every test
	@$(BIN)/python -m pytest -n auto --dist worksteal

clients: install .clients/installed ## Install the Salesforce clients that test the local org

.clients/installed: $(CLIENTS)/package-lock.json $(CLIENTS)/airbyte-requirements.txt | .venv/installed
	@command -v npm >/dev/null || { echo "Node.js 18 or newer with npm is needed"; exit 1; }
	@echo "Installing Salesforce clients into .clients (a minute or two) ..."
	@mkdir -p .clients
	@cp $(CLIENTS)/package.json $(CLIENTS)/package-lock.json .clients/
	@npm ci --prefix .clients --ignore-scripts --no-audit --no-fund --loglevel=error
	@$(BIN)/python -m venv --clear .clients/airbyte
	@.clients/airbyte/bin/python -m pip install --quiet --disable-pip-version-check \
		-r $(CLIENTS)/airbyte-requirements.txt
	@touch $@

conformance: clients ## Test the local org with Salesforce's documentation and clients
	@$(BIN)/python -m pytest -q -n auto --dist worksteal $(CONFORMANCE) \
		salesforce_pipelines_tests/local_org/test_simple_salesforce.py

check: install format lint types quick ## Format, lint, types and quick tests

format: install
	@$(BIN)/ruff format --check $(PACKAGES)

lint: install
	@$(BIN)/ruff check $(PACKAGES)
	@$(BIN)/lint-imports --no-logo

types: install
	@$(BIN)/mypy

quick: install
	@$(BIN)/python -m pytest -q -n auto --dist worksteal -m 'not slow and not browser and not clients'

bench: install ## Print the figures (takes some minutes; CONTACTS=1000000 for pulls of so many)
	@$(BIN)/python -m benchmarks.run $(if $(CONTACTS),--contacts $(CONTACTS))

lock: install ## Resolve requirements.lock anew from pyproject.toml
	@$(BIN)/python -m pip install --quiet 'uv>=0.9'
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url \
		--no-annotate --no-header --extra dev pyproject.toml --output-file requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url \
		--no-annotate --no-header $(CLIENTS)/airbyte-requirements.in \
		--output-file $(CLIENTS)/airbyte-requirements.txt

clean: ## Forget the demo's org and data; keeps .venv
	rm -rf .home
