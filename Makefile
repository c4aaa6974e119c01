# Everything here works on a fresh Debian 12. What is downloaded and built is kept in ~/.cache/reconciler
# (RECONCILER_CACHE moves it) and used again by every clone.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := pip --disable-pip-version-check --quiet
# Nothing is built on the way but the program itself: an sdist's build would bring packages that no lock names.
LOCKED := --require-hashes --only-binary :all:
PYTEST_ARGS ?=

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- set-up ---------------------------------------------------------------------------------------------------------

.PHONY: venv
venv: $(STAMP) ## Make .venv with the program and its development tools

# Used again as long as pyproject.toml and the lock stay the same, whatever their time stamps say, and its Python still runs; made
# from nothing when the lock changes, so that it holds nothing that the lock does not.
.PHONY: FORCE
$(STAMP): FORCE
	@if ! { $(BIN)/python -c '' && sha256sum --check --status $@; } 2>/dev/null; then $(MAKE) install-venv; fi

.PHONY: install-venv
install-venv: first
	@if ! { $(BIN)/python -c '' && sha256sum --check --status $(VENV)/.locked; } 2>/dev/null; then \
		echo "making $(VENV)"; \
		$(PYTHON) -m venv --clear $(VENV); \
		$(BIN)/$(PIP) install $(LOCKED) -r requirements/dev.lock; \
		sha256sum requirements/dev.lock > $(VENV)/.locked; \
	fi
	@$(BIN)/$(PIP) install --no-deps --no-index --no-build-isolation --editable .
	@sha256sum pyproject.toml requirements/dev.lock > $(STAMP)

.PHONY: first
first:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || missing=python3; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$${missing:-} python3-venv"; \
	command -v git > /dev/null || missing="$${missing:-} git"; \
	[ -z "$${missing:-}" ] || $(MAKE) apt PACKAGES="ca-certificates $$missing"

.PHONY: apt
apt:
	@if [ "$$(id -u)" != 0 ]; then \
		echo "error: run \`sudo apt-get install --no-install-recommends $(PACKAGES)\` first" >&2; exit 1; \
	fi
	@echo "installing Debian packages: $(PACKAGES)"
	@apt-get -q update > /dev/null
	@DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $(PACKAGES) > /dev/null

.PHONY: needs
needs: $(STAMP)
	@$(BIN)/python -m tests.support.packages
	@$(BIN)/python -m reconciler.source.precompile > /dev/null

.PHONY: images
images: needs ## Bring the genuine Kolla images into the engine (pulled, else built: 10 to 20 minutes, once)
	@$(BIN)/python -m tests.support.engine ensure --as images
	@trap '$(BIN)/python -m tests.support.engine stop --as images' EXIT; $(BIN)/python -m tests.images.build

# --- use ------------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: needs ## A converged control plane on this machine, from a Git repository; shows what the program does
	@$(BIN)/python -m tests.support.engine ensure --as demo
	@$(BIN)/python -m tests.images.build
	@$(BIN)/python -m tests.demo run

.PHONY: demo-clean
demo-clean: $(STAMP) ## Remove everything the demo made
	@$(BIN)/python -m tests.demo clean
	@$(BIN)/python -m tests.support.engine stop --as demo

.PHONY: demo-cloud
demo-cloud: needs ## A whole cloud on this machine: an image, a network, a server, a stack, a volume, a secret, the dashboard
	@$(BIN)/python -m tests.support.engine ensure --as demo-cloud
	@$(BIN)/python -m tests.images.build --set core --set cloud --set watch
	@$(BIN)/python -m tests.demo_cloud run

.PHONY: demo-cloud-clean
demo-cloud-clean: $(STAMP) ## Remove everything the demo of the whole cloud made
	@$(BIN)/python -m tests.demo_cloud clean
	@$(BIN)/python -m tests.support.engine stop --as demo-cloud

.PHONY: demo-fleet
demo-fleet: needs ## Six nodes and three etcd members on this machine: a good commit, a bad one, the one that mends it, a killed controller
	@$(BIN)/python -m tests.support.engine ensure --as demo-fleet
	@$(BIN)/python -m tests.demo_fleet

.PHONY: demo-clusters
demo-clusters: needs ## Three machines on this one: Galera, RabbitMQ, etcd and Keystone change a member at a time while clients work, and what these saw
	@$(BIN)/python -m tests.support.engine ensure --as demo-clusters
	@$(BIN)/python -m tests.images.build
	@$(BIN)/python -m tests.images.build etcd
	@trap '$(BIN)/python -m tests.support.engine stop --as demo-clusters' EXIT; $(BIN)/pytest -m slow -q -s tests/clusters

.PHONY: test
test: images ## The default test run, with a real engine and genuine images
	@$(BIN)/python -m tests.support.halves $(PYTEST_ARGS)

.PHONY: test-all
test-all: needs ## All tests, those of many minutes too, with all images that they want; goes on where it was broken off (WITHOUT=vm: another time)
	@$(BIN)/python -m tests.support.engine ensure --as all
	@trap '$(BIN)/python -m tests.support.engine stop --as all' EXIT; $(BIN)/python -m tests.images.build --set all && \
		$(BIN)/python -m tests.images.build --release 2026.1 --set all && $(BIN)/python -m tests.support.everything $(addprefix --without ,$(WITHOUT)) $(PYTEST_ARGS)

.PHONY: test-vm
test-vm: needs ## Tests in a virtual machine: systemd, kernel modules, power cuts (no KVM needed; slow without)
	@$(BIN)/python -m tests.support.engine ensure --as vm
	@trap '$(BIN)/python -m tests.support.engine stop --as vm' EXIT; $(BIN)/pytest -m vm tests/vm $(PYTEST_ARGS)

WHEEL_VENV := build/wheel-venv
.PHONY: wheel
wheel: first ## Build the wheel into dist/, with the lock of what it needs and the checksums of both
	@$(PYTHON) -m venv --clear $(WHEEL_VENV)
	@$(WHEEL_VENV)/bin/$(PIP) install $(LOCKED) -r requirements/build.lock
	@rm -rf dist
	@$(WHEEL_VENV)/bin/$(PIP) wheel --no-deps --no-index --no-build-isolation --wheel-dir dist .
	@cp requirements/runtime.lock dist/requirements.lock
	@cd dist && sha256sum *.whl requirements.lock | tee SHA256SUMS

.PHONY: packages
packages: $(STAMP) ## Build Debian packages and the image for CI jobs into dist/, with bills of materials and checksums (ONLY=bookworm, trixie, image)
	@$(BIN)/python -m tests.packaging $(ONLY)

.PHONY: audit
audit: $(STAMP) ## Ask for known vulnerabilities of the locked packages (needs the network)
	@$(BIN)/python -m tests.packaging.audit

.PHONY: site
site: $(STAMP) ## The pages of docs/ as a site with a search, into dist/site
	@$(BIN)/python -m tests.packaging.site

# In an environment of its own, on a copy; tests/mutation/__main__.py has the areas.
.PHONY: mutation
mutation: $(STAMP) ## Change one thing of the program at a time: how much its tests notice (AREA=plan, SAMPLE=300, SEED=1)
	@$(BIN)/python -m tests.mutation $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED)) $(AREA)

.PHONY: bench
bench: images ## Measure against the budgets of docs/performance.md
	@$(BIN)/python -m tests.bench

# The oracle's environment and its renders are kept in the cache; a site is rendered anew when it or the oracle's set-up changes.
.PHONY: parity
parity: $(STAMP) ## Compare what we render with kolla-ansible (SITE=NAME, SERVICE=NAME, RELEASE=2026.1, EXPLAINED=1)
	@$(BIN)/python -m tests.parity $(if $(SITE),--site $(SITE)) $(if $(SERVICE),--service $(SERVICE)) \
		$(if $(RELEASE),--release $(RELEASE)) $(if $(EXPLAINED),--explained)

# --- development ----------------------------------------------------------------------------------------------------

.PHONY: check
check: $(STAMP) ## Style, types, import directions, the schemas' own validity
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if grep -q '^\[tool.importlinter' pyproject.toml; then set -x; $(BIN)/lint-imports; fi
	@if [ -f tests/test_schemas.py ]; then set -x; $(BIN)/pytest -q tests/test_schemas.py; fi

# UPGRADE=all takes the newest of everything, UPGRADE=NAME of one package; without it only what has to change does.
COMPILE = $(BIN)/uv --quiet pip compile \
	$(if $(UPGRADE),$(if $(filter all,$(UPGRADE)),--upgrade,--upgrade-package $(UPGRADE)))
BUILD_REQUIRES := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")

.PHONY: lock
lock: ## Write the locks anew after a change of pyproject.toml (UPGRADE=all, UPGRADE=NAME: newer versions)
	@test -x $(BIN)/uv || $(MAKE) install-venv
	@$(COMPILE) pyproject.toml --extra dev --output-file requirements/dev.lock
	@$(COMPILE) pyproject.toml --constraints requirements/dev.lock --output-file requirements/runtime.lock
	@$(BIN)/python -c '$(BUILD_REQUIRES)' | \
		$(COMPILE) - --constraints requirements/dev.lock --output-file requirements/build.lock
	@$(COMPILE) tests/parity/kolla-2025.1.in --output-file tests/parity/kolla-2025.1.lock
	@$(COMPILE) pyproject.toml tests/packaging/tools.in --constraints requirements/dev.lock --output-file tests/packaging/tools.lock
	@$(COMPILE) pyproject.toml tests/mutation/mutation.in --extra dev --constraints requirements/dev.lock --output-file tests/mutation/mutation.lock
	@$(COMPILE) tests/packaging/site.in --output-file tests/packaging/site.lock
	@$(COMPILE) tests/packaging/audit.in --output-file tests/packaging/audit.lock
	@$(COMPILE) pyproject.toml tests/fuzz/guided.in --extra dev --constraints requirements/dev.lock --output-file tests/fuzz/guided.lock
	@$(COMPILE) tests/parity/kolla-2026.1.in --output-file tests/parity/kolla-2026.1.lock
	@for release in 2025.1 2026.1; do \
		$(COMPILE) tests/images/kolla-$$release.in --output-file tests/images/kolla-$$release.lock; \
		for name in sources sources-cloud; do \
			$(COMPILE) tests/images/$$name-$$release.in --no-deps --no-emit-build-options --output-file tests/images/$$name-$$release.lock; \
		done; \
	done

# The same tests with other versions than the locked ones, in an environment of their own: what needs neither engine nor images.
TRY = $(BIN)/uv --quiet pip compile --no-generate-hashes --no-header --no-annotate pyproject.toml --extra dev
.PHONY: test-lowest
test-lowest: needs ## The tests that need no engine, with the lowest versions that pyproject.toml allows
	@mkdir -p build && $(TRY) --upgrade --resolution lowest-direct --output-file build/lowest.txt
	@$(MAKE) try AS=lowest

.PHONY: test-newest
test-newest: needs ## The same with the newest versions there are
	@mkdir -p build && $(TRY) --upgrade --output-file build/newest.txt
	@$(MAKE) try AS=newest

.PHONY: test-python
test-python: needs ## The same with another Python (WITH=python3.12) and the locked versions
	@mkdir -p build && cp requirements/dev.lock build/python.txt
	@$(MAKE) try AS=python PYTHON=$(WITH)

.PHONY: try
try:
	@$(PYTHON) -m venv --clear build/$(AS)
	@build/$(AS)/bin/$(PIP) install -r build/$(AS).txt
	@build/$(AS)/bin/$(PIP) install --no-deps --no-index --no-build-isolation --editable .
	@build/$(AS)/bin/pip --disable-pip-version-check check
	@build/$(AS)/bin/pytest -m 'not slow and not engine and not images' $(PYTEST_ARGS)

.PHONY: docs
docs: $(STAMP) ## Generate the grammar of options and registrations, the reference of the site's files, and the tables of reasons
	@$(BIN)/python -m tests.support.grammar
	@$(BIN)/python -m reconciler schema --docs docs/site-reference.md
	@rm -f docs/services/*.md
	@$(BIN)/python -m reconciler services --docs docs/services
	@$(BIN)/python -m tests.support.reasons

.PHONY: clean
clean: ## Remove what builds and tests made in this checkout (the cache in ~/.cache/reconciler stays)
	@rm -rf $(VENV) build dist *.egg-info bench-results .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
