# Tasks of the repository; `make` alone lists them. They need Python 3.11 or newer and make.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
# The policy pack of infra/policy runs in a process and an environment of its own.
POLICY := .venv-policy
# So does the server of the tests of backups in a bucket.
S3_SERVER := .venv-s3
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
INSTALL := $(PIP) install --quiet --require-hashes -r

# A command of that name may be a shim that does not run, so each candidate is tried.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$python; break; fi; done)
# Extra arguments for pytest, for example: make test ARGS="-k money"
ARGS ?=
# Seed of all random searches; without one, CI searches the same and a person elsewhere each time.
SEED ?=
SEARCH = $(if $(SEED),--hypothesis-profile=random --hypothesis-seed=$(SEED))
# Test processes; auto is two a core, because tests wait more than they compute.
WORKERS ?= auto
PARALLEL = -n $(WORKERS) --dist loadgroup
# Tests start many processes, and each would compile the package again.
export PYTHONDONTWRITEBYTECODE :=
IMAGE ?= spawn:dev

.PHONY: help run extras test test-thorough test-core test-properties mutants lint types contracts bench drill histories simulate power-loss docs site schemathesis conformance sbom audit wheel test-lowest lock image image-test manifests clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1m%-13s\033[0m %s\n", $$1, $$2 }' Makefile

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Spawn needs Python 3.11 or newer on the PATH." >&2; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "Python's venv module is missing (Debian and Ubuntu: python3-venv)." >&2; exit 1; }

# A stamp is newer than its locks if the environment has their packages. The locked setuptools
# builds the package itself, so that nothing unlocked is installed, even for the build.
# The pip of Python 3.11 takes twice as long to choose files, so the locked one replaces it first.
# Of the packages of development only a part is ever imported, so those are compiled when they are.
define install
	@echo "Installing $(1), locked with hashes"
	@sed -n '/^pip==/,/[^\\]$$/p' requirements/dev.txt > $(VENV)/pip.txt
	@$(INSTALL) $(VENV)/pip.txt
	@$(INSTALL) requirements/build.txt
	@$(INSTALL) requirements/$(1).txt $(if $(filter dev,$(1)),--no-compile)
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

extras: $(VENV)/extras.stamp ## Install the optional packages: arrow, calendars, encryption, excel, nanoarrow, nats, oidc, otlp, s3

test: $(VENV)/dev.stamp $(POLICY)/stamp $(S3_SERVER)/stamp ## Run every test, in parallel; SEED=... repeats a search
	@$(if $(SEED),echo "Hypothesis seed $(SEED). To repeat this run: make test SEED=$(SEED)")
	@$(BIN)/pytest $(PARALLEL) $(SEARCH) $(ARGS)

test-thorough: ## Run every test, with all rounds of its searches: kills, power cuts, histories, examples
	@THOROUGH_TESTS=1 $(MAKE) test

test-core: $(VENV)/dev.stamp ## Run the tests of the domain only, without I/O
	@$(BIN)/pytest -m "core and not slow" tests/domain --hypothesis-profile=quick \
		-p no:xdist -o faulthandler_timeout=0 $(ARGS)

test-properties: $(VENV)/dev.stamp ## Run the property tests with a random seed, or with SEED=...
	@seed=$${SEED:-$$(od -A n -N 4 -t u4 /dev/urandom | tr -d ' ')}; \
	echo "Hypothesis seed $$seed. To repeat this run: make test-properties SEED=$$seed"; \
	$(BIN)/pytest $(PARALLEL) -m "hypothesis and not slow" --hypothesis-profile=random \
		--hypothesis-seed=$$seed $(ARGS)

# For example: make mutants ARGS="src/spawn/domain/finance --sample 50 --seed 1"
BASE ?= main
mutants: $(VENV)/dev.stamp ## Change lines that differ from BASE, and list what no fast test notices
	@$(BIN)/python -m tests.mutation --base $(BASE) $(ARGS)

lint: $(VENV)/dev.stamp ## Check style and formatting, and the workflows
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-actions .github/actions/*/action.yml
	@$(BIN)/zizmor --offline --quiet .github

types: $(VENV)/dev.stamp ## Check types
	@$(BIN)/mypy

contracts: $(VENV)/dev.stamp ## Check the direction of imports
	@$(BIN)/lint-imports

bench: $(VENV)/dev.stamp ## Measure the figures of docs/performance.md
	@$(BIN)/python -m benchmarks.finance
	@$(BIN)/python -m benchmarks.analysis
	@$(BIN)/python -m benchmarks.events
	@$(BIN)/python -m benchmarks.http $(ARGS)

drill: $(VENV)/runtime.stamp ## Demonstrate schema evolution with eight clients and kill -9
	@$(BIN)/python -m examples.drill $(ARGS)

ROUNDS ?= 5
histories: $(VENV)/dev.stamp ## Check histories of 16 clients under kills, stops and migrations (ROUNDS=40 SEED=1)
	@$(BIN)/python -m tests.histories --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

simulate: $(VENV)/dev.stamp ## Simulate a store and its backups on a disk that fails, for a million steps (STEPS=1000000 SEED=1)
	@$(BIN)/python -m tests.simulation $(if $(STEPS),--steps $(STEPS)) $(if $(SEED),--seed $(SEED)) $(ARGS)

power-loss: $(VENV)/dev.stamp ## Open what a power cut may leave of a store, at each of its writes (needs strace)
	@$(BIN)/python -m tests.power_loss $(if $(SEED),--seed $(SEED)) $(ARGS)

docs: $(VENV)/dev.stamp ## Render the documentation to build/docs and check links
	@$(BIN)/python docs/build.py

SITE := .venv-site

$(SITE)/stamp: requirements/site.txt | $(BIN)/python
	@echo "Installing MkDocs Material, locked with hashes"
	@test -x $(SITE)/bin/python || $(PYTHON) -m venv $(SITE)
	@$(SITE)/bin/python -m pip --disable-pip-version-check --no-input install --quiet \
		--require-hashes -r requirements/site.txt
	@touch $@

site: $(VENV)/dev.stamp $(SITE)/stamp ## Render the documentation with search to build/site
	@$(BIN)/python docs/site.py $(SITE)/bin/mkdocs
	@echo "python3 -m http.server --directory build/site 8080 serves it: http://127.0.0.1:8080/docs/"

schemathesis: $(VENV)/dev.stamp ## Test the service against its OpenAPI document, with five seeds
	@$(BIN)/python -m tests.product.fuzz $(ARGS)

LOWEST := .venv-lowest

# The lowest versions are those of pyproject.toml; what these need themselves is the newest.
$(LOWEST)/stamp: pyproject.toml requirements/lowest.py | $(BIN)/python
	@echo "Installing the lowest versions that pyproject.toml allows"
	@mkdir -p build && $(BIN)/python requirements/lowest.py > build/lowest.txt
	@test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	@$(LOWEST)/bin/python -m pip --disable-pip-version-check --no-input install --quiet --no-compile \
		--constraint build/lowest.txt --editable '.[arrow,calendars,excel,nanoarrow,nats,oidc,otlp]' \
		cloudevents hypothesis jsonschema-rs open-data-contract-standard openlineage-python \
		pytest pytest-asyncio pytest-xdist
	@touch $@

test-lowest: $(LOWEST)/stamp ## Run tests of domain and application with the lowest versions of dependencies
	@$(LOWEST)/bin/python -m pytest $(PARALLEL) --hypothesis-profile=quick tests/application \
		tests/domain/schemas tests/domain/projects tests/domain/imports tests/http/projects $(ARGS)

wheel: $(VENV)/dev.stamp ## Build dist/*.whl, and install it alone
	@rm -rf dist build/lib build/bdist.*
	@$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@rm -rf build/wheel && $(PYTHON) -m venv build/wheel
	@build/wheel/bin/python -m pip --disable-pip-version-check --no-input install --quiet \
		--require-hashes -r requirements/runtime.txt
	@build/wheel/bin/python -m pip --disable-pip-version-check --no-input install --quiet --no-deps dist/*.whl
	@cd build && wheel/bin/spawn --version && wheel/bin/spawn serve --check-config

# The tools that check the product documents have an environment of their own.
CHECKERS := .venv-conformance
NODE_CHECKERS := build/conformance/npm

$(CHECKERS)/stamp: requirements/conformance.txt
	@echo "Installing the tools that check the documents, locked with hashes"
	@test -x $(CHECKERS)/bin/python || $(PYTHON) -m venv $(CHECKERS)
	@$(CHECKERS)/bin/python -m pip --disable-pip-version-check --no-input install --quiet \
		--require-hashes -r requirements/conformance.txt
	@touch $@

$(NODE_CHECKERS)/stamp: tests/conformance/package.json tests/conformance/package-lock.json
	@command -v npm >/dev/null || { echo "make conformance needs Node 20 and npm on the PATH." >&2; exit 1; }
	@mkdir -p $(NODE_CHECKERS)
	@cp tests/conformance/package.json tests/conformance/package-lock.json \
		tests/conformance/.npmrc $(NODE_CHECKERS)
	@npm ci --prefix $(NODE_CHECKERS) --loglevel error
	@touch $@

conformance: $(VENV)/dev.stamp $(CHECKERS)/stamp $(NODE_CHECKERS)/stamp ## Check documents and pages with independent tools (needs Node 20 and Chromium)
	@$(BIN)/python -m tests.conformance.run

# Components are read from the locks; nothing is asked for.
sbom: $(BIN)/python ## List the components of the image in build/sbom.json (CycloneDX)
	@mkdir -p build
	@$(BIN)/python requirements/sbom.py image > build/sbom.json
	@echo "build/sbom.json lists $$(grep -c '"library"' build/sbom.json) components of requirements/image.txt"

$(POLICY)/stamp: requirements/policy.txt
	@echo "Installing the policy pack, locked with hashes"
	@test -x $(POLICY)/bin/python || $(PYTHON) -m venv $(POLICY)
	@$(POLICY)/bin/python -m pip --disable-pip-version-check --no-input install --quiet \
		--require-hashes -r requirements/policy.txt
	@touch $@

$(S3_SERVER)/stamp: requirements/s3.txt
	@echo "Installing the S3 server of the tests, locked with hashes"
	@test -x $(S3_SERVER)/bin/python || $(PYTHON) -m venv $(S3_SERVER)
	@$(S3_SERVER)/bin/python -m pip --disable-pip-version-check --no-input install --quiet \
		--require-hashes -r requirements/s3.txt
	@touch $@

AUDIT := .venv-audit

$(AUDIT)/stamp: requirements/audit.txt
	@echo "Installing pip-audit, locked with hashes"
	@test -x $(AUDIT)/bin/python || $(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/python -m pip --disable-pip-version-check --no-input install --quiet \
		--require-hashes -r requirements/audit.txt
	@touch $@

audit: $(AUDIT)/stamp ## Compare the locks with published advisories (needs the package index's advisories)
	@for lock in runtime image extras infra policy dev; do \
		echo "requirements/$$lock.txt"; \
		$(AUDIT)/bin/pip-audit --strict --require-hashes --disable-pip --requirement requirements/$$lock.txt || exit 1; done

lock: $(VENV)/dev.stamp ## Write the lock files again (PIP_COMPILE_ARGS=--upgrade upgrades)
	@requirements/lock

# Files are dated and the image is labelled by the commit, so that one commit gives one image.
# docker needs a running engine; the OCI format has no health check, so buildah and podman write
# Docker's. A remote address is a label only if it is public, without credentials.
image: ## Build the container image with docker, buildah or podman
	@epoch=$$(git log -1 --format=%ct 2>/dev/null || echo 315532800); \
	revision=$$(git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown); \
	version=$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' src/spawn/__init__.py); \
	source=$$(git config --get remote.origin.url 2>/dev/null | grep -E '^https://[^@]+$$' || echo unknown); \
	if docker info >/dev/null 2>&1; then build="docker build"; \
	elif command -v buildah >/dev/null; then build="buildah build --format docker --timestamp $$epoch"; \
	elif command -v podman >/dev/null; then build="podman build --format docker --timestamp $$epoch"; \
	else echo "make image needs docker with a running engine, buildah or podman." >&2; exit 1; fi; \
	exec $$build --file Containerfile --tag $(IMAGE) --build-arg SOURCE_DATE_EPOCH=$$epoch \
		--build-arg VERSION=$$version --build-arg REVISION=$$revision --build-arg SOURCE=$$source \
		$(BUILD_ARGS) .

STACK ?= prod
manifests: $(VENV)/dev.stamp ## Write the Kubernetes objects of a stack (STACK=prod) to build/manifests
	@mkdir -p build/manifests
	@$(BIN)/python infra/manifests.py $(STACK) $(ARGS) > build/manifests/$(STACK).yaml
	@echo "build/manifests/$(STACK).yaml is for kubectl apply"

image-test: $(VENV)/dev.stamp ## Build the image and run it hardened: create, stop, start, back up, restore (root without docker)
	@$(BIN)/python -m tests.image $(ARGS)

clean: ## Remove build and test output, and the environment
	rm -rf $(VENV) $(CHECKERS) $(POLICY) $(AUDIT) $(LOWEST) $(SITE) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis \
		.import_linter_cache .schemathesis src/*.egg-info
	find src tests infra docs benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
