# Icetap. `make` lists the targets; each one sets up what it needs by itself.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test test-servers check format bench soak docs constraints clean

# The first Python of a version that the packages support (a shim that cannot run does not count).
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
# The machine's uv where it knows dependency groups, else one of the project's own.
UV := $(shell uv pip install --group dev --help >/dev/null 2>&1 && echo uv || echo .tools/bin/uv)
# uv reads other variables than pip: what pip was told of index and certificates, uv is told too.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
ifdef PIP_CERT
export SSL_CERT_FILE ?= $(PIP_CERT)
endif

# Compiled once, at installation: a pipeline's programs then start in one second instead of five.
export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE

RUN := .venv/bin/
READY := .venv/.ready
MANIFESTS := $(wildcard shared/pyproject.toml taps/*/pyproject.toml targets/*/pyproject.toml)
MEMBERS := -e shared[catalog-postgres,cli,columnar,iceberg,rest,sql,ssh,testing] $(patsubst %/pyproject.toml,-e %,$(wildcard taps/*/pyproject.toml targets/*/pyproject.toml))

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## Put every package, editable, and the tools into .venv (the other targets do it themselves)

demo: $(READY)  ## Load 336,776 real flights into Iceberg, change some, load again, ask a question (3 minutes)
	@$(RUN)python docs/tutorial/demo.py

test: $(READY)  ## Run the tests that need nothing but Python packages (10 minutes)
	$(RUN)pytest -n 2 --dist worksteal -m "not servers and not soak" --ignore tests/repository

test-servers: $(READY)  ## Run the tests that need Spark and other servers; what cannot be had is skipped, loudly
	@bash .ci/servers
	$(RUN)pytest -m "servers and not soak"

check: $(READY)  ## Check format, lint, types, generated files and the rules of the house
	$(RUN)ruff format --check . && $(RUN)ruff check . && $(RUN)mypy
	$(RUN)python docs/generator --check
	$(RUN)pytest -q tests/repository

format: $(READY)  ## Format the code and mend what the linter can mend
	$(RUN)ruff format . && $(RUN)ruff check --fix .

bench: $(READY)  ## Measure speed and memory against peers in one run; results go to bench/results
	$(RUN)python bench/run.py

soak: $(READY)  ## Run the long proofs: 500 kills, big tables (hours)
	$(RUN)pytest -m soak

docs: $(READY)  ## Regenerate meltano.yml, the settings tables and docs/reference from the manifests
	$(RUN)python docs/generator

constraints: .tools/bin/uv  ## Choose the third-party versions again and write constraints.txt
	bash .ci/constraints .tools/bin/uv $(MANIFESTS)

clean:  ## Remove the environment, the demo and all caches
	rm -rf .venv .tools .meltano .icetap demo .mypy_cache .ruff_cache .pytest_cache

$(READY): $(filter-out uv,$(UV)) constraints.txt pyproject.toml $(MANIFESTS)
	$(UV) venv --quiet --allow-existing --python "$(or $(PYTHON),3.12)" .venv
	$(UV) pip install --quiet --python .venv --constraints constraints.txt --build-constraints constraints.txt --group dev $(MEMBERS)
	$(UV) pip install --quiet --python .venv --constraints constraints.txt --no-deps --group demo
	@touch $@

# `--target` works where the system's Python refuses packages (PEP 668) and where it has no venv module.
.tools/bin/uv:
	$(PYTHON) -m pip install --quiet --root-user-action ignore --target .tools uv || { $(PYTHON) -m venv .tools && .tools/bin/python -m pip install --quiet uv; }
