# Spawn's tasks. `make` alone lists them. Python 3.11 or newer and make are all that is presumed.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
INSTALL := $(PIP) install --quiet --require-hashes -r

# A command of that name may be a shim that refuses to run, so each candidate is asked.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$python; break; fi; done)
# Extra arguments for pytest, for example: make test ARGS="-k money"
ARGS ?=
IMAGE ?= spawn:dev

.PHONY: help run extras test test-core lint types contracts bench drill docs schemathesis conformance lock image clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1m%-13s\033[0m %s\n", $$1, $$2 }' Makefile

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Spawn needs Python 3.11 or newer on the PATH." >&2; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "Python's venv module is missing (Debian and Ubuntu: python3-venv)." >&2; exit 1; }

# A stamp is newer than its locks when the environment holds what they name. The package itself
# is built by the locked setuptools already there: nothing unlocked enters, even to build.
define install
	@echo "Installing $(1), locked with hashes"
	@$(INSTALL) requirements/build.txt
	@$(INSTALL) requirements/$(1).txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
endef

$(VENV)/runtime.stamp: requirements/runtime.txt requirements/build.txt pyproject.toml | $(BIN)/python
	$(call install,runtime)

$(VENV)/dev.stamp: requirements/dev.txt requirements/build.txt pyproject.toml | $(BIN)/python
	$(call install,dev)
	@touch $(VENV)/runtime.stamp

$(VENV)/extras.stamp: requirements/extras.txt requirements/build.txt pyproject.toml | $(BIN)/python
	$(call install,extras)
	@touch $(VENV)/runtime.stamp

run: $(VENV)/runtime.stamp ## Start the service with a sample portfolio
	@exec $(BIN)/spawn demo

extras: $(VENV)/extras.stamp ## Install the optional packages: arrow, nats, otlp

test: $(VENV)/dev.stamp ## Run every test
	@$(BIN)/pytest $(ARGS)

test-core: $(VENV)/dev.stamp ## Run the domain's tests alone, without I/O, in seconds
	@$(BIN)/pytest -m "core and not slow" tests/domain --hypothesis-profile=quick \
		-p no:schemathesis -p no:faker -p no:anyio -o faulthandler_timeout=0 $(ARGS)

lint: $(VENV)/dev.stamp ## Check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp ## Check types, strictly
	@$(BIN)/mypy

contracts: $(VENV)/dev.stamp ## Check that dependencies point inwards
	@$(BIN)/lint-imports

bench: $(VENV)/dev.stamp ## Measure, as docs/performance.md describes
	@$(BIN)/python -m benchmarks.finance
	@$(BIN)/python -m benchmarks.analysis
	@$(BIN)/python -m benchmarks.events
	@$(BIN)/python -m benchmarks.http $(ARGS)

drill: $(VENV)/runtime.stamp ## Evolve the schema under eight clients, well, badly and with kill -9
	@$(BIN)/python -m examples.drill $(ARGS)

docs: $(VENV)/dev.stamp ## Render the documentation to build/docs and check its links
	@$(BIN)/python docs/build.py

schemathesis: $(VENV)/dev.stamp ## Attack the service from its own OpenAPI document, with five seeds
	@$(BIN)/python -m tests.product.fuzz $(ARGS)

# The tools that judge the documents have an environment of their own: none of them is ours.
JUDGES := .venv-conformance
NODE_JUDGES := build/conformance/npm

$(JUDGES)/stamp: requirements/conformance.txt
	@echo "Installing the tools that judge the documents, locked with hashes"
	@test -x $(JUDGES)/bin/python || $(PYTHON) -m venv $(JUDGES)
	@$(JUDGES)/bin/python -m pip --disable-pip-version-check --no-input install --quiet \
		--require-hashes -r requirements/conformance.txt
	@touch $@

$(NODE_JUDGES)/stamp: tests/conformance/package.json tests/conformance/package-lock.json
	@command -v npm >/dev/null || { echo "Node 20 and npm are needed for this." >&2; exit 1; }
	@mkdir -p $(NODE_JUDGES)
	@cp tests/conformance/package.json tests/conformance/package-lock.json \
		tests/conformance/.npmrc $(NODE_JUDGES)
	@npm ci --prefix $(NODE_JUDGES) --loglevel error
	@touch $@

conformance: $(VENV)/dev.stamp $(JUDGES)/stamp $(NODE_JUDGES)/stamp ## Have independent tools judge the live documents (needs Node 20)
	@$(BIN)/python -m tests.conformance.run

lock: $(VENV)/dev.stamp ## Resolve the locks again (PIP_COMPILE_ARGS=--upgrade for newer ones)
	@requirements/lock

image: ## Build the container image with buildah, podman or docker
	@# The OCI format has no health check, so the tools that could write it are told not to.
	@for tool in "buildah build --format docker" "podman build --format docker" "docker build"; do \
		if command -v $${tool%% *} >/dev/null; then \
			exec $$tool --file Containerfile --tag $(IMAGE) $(BUILD_ARGS) .; fi; done; \
	echo "No buildah, podman or docker is on the PATH." >&2; exit 1

clean: ## Remove what building and testing left, the environment too
	rm -rf $(VENV) $(JUDGES) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis \
		.import_linter_cache .schemathesis src/*.egg-info
	find src tests infra docs benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
