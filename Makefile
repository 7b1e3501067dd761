# Everything a newcomer needs: `make demo` and `make test`. Each target sets itself up.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
# One more than there are cores: tests wait for servers, and servers for disks.
TESTERS ?= $(shell expr $$(nproc) + 1)
# What the tests start, of Debian.
PARTS  := buildah chromium curl debootstrap etcd-server git git-lfs haproxy jq nodejs openssl patroni poppler-utils postgresql-15

.DEFAULT_GOAL := help
.PHONY: help demo test check run dev build docs schema bench soak screenshots lock clean

help:           ## Show this list
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

# One virtual environment; the stamp says which extras are in it, so that `make demo` installs no test tools.
$(VENV)/.demo: pyproject.toml constraints.txt
	@.ci/setup-venv $(PYTHON) $(VENV) demo
	@touch $@

$(VENV)/.check: pyproject.toml constraints.txt
	@.ci/setup-venv $(PYTHON) $(VENV) check
	@touch $@ $(VENV)/.demo $(VENV)/.dev

$(VENV)/.dev: pyproject.toml constraints.txt
	@.ci/setup-venv $(PYTHON) $(VENV) demo,dev
	@touch $@ $(VENV)/.demo

$(VENV)/.demo-ha: pyproject.toml constraints.txt
	@.ci/debian-packages haproxy postgresql
	@.ci/setup-venv $(PYTHON) $(VENV) demo-ha
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo $(if $(findstring --ha,$(ARGS)),$(VENV)/.demo-ha)   ## Start a server and two workers, convert the sample PDFs (ARGS=--once: end by itself; ARGS=--chain: page by page; ARGS=--ha: three servers)
	@$(BIN)/python -m blobforge.demo $(ARGS)

run: $(VENV)/.demo    ## Start the server on its embedded default (ARGS=... are options of `blobforge serve`)
	@$(BIN)/blobforge serve $(ARGS)

dev: $(VENV)/.dev     ## The same, started anew whenever code, templates or styles change
	@$(BIN)/blobforge serve --reload $(ARGS)

build: $(VENV)/.dev   ## Make the wheel and the source archive, into dist/
	@$(BIN)/python -m build --no-isolation --outdir dist $(ARGS)

test: $(VENV)/.check  ## Run the whole suite, real parts included (ARGS=... are pytest's)
	@.ci/debian-packages $(PARTS)
	@$(BIN)/python -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.check ## Lint, types, import direction
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/hadolint Containerfile

bench: $(VENV)/.check ## Measure everything, about half an hour (ARGS=--quick: two minutes); writes bench/results/local
	@$(BIN)/python -m bench $(ARGS)

# The longest ones first; who has nothing left takes from the others.
SOAKED := tests/model tests/simulation tests/several tests/power tests/fuzz tests/system tests/store/postgres tests/backup tests/cli/test_results.py tests/cli/test_results_several.py
soak: $(VENV)/.check  ## The long versions of the fault tests, some hours (SEEDS=... of the simulator, or one: SEED=...)
	@.ci/debian-packages $(PARTS)
	@SOAK=1 $(BIN)/python -m pytest -n $(TESTERS) --dist worksteal --timeout 1800 -o timeout_method=thread $(SOAKED) $(ARGS)

docs: $(VENV)/.check   ## Write anew what comes from the code: pages (modules, settings, endpoints, options), and the Client
	@$(BIN)/python -m tests.generated

schema: $(VENV)/.check ## Keep a new migration's schema of PostgreSQL as a fixture of the tests (CONTRIBUTING.md, "A migration")
	@.ci/debian-packages postgresql-15
	@$(BIN)/python -m tests.migrations.keep

screenshots: $(VENV)/.check ## Every page in both themes, wide and as on a phone, into screenshots/
	@.ci/debian-packages chromium
	@$(BIN)/python -m tests.dashboard.screenshots $(ARGS)

lock:           ## Write constraints.txt anew from the newest versions that pyproject.toml allows
	@.ci/lock $(PYTHON) constraints.txt

clean:          ## Remove the virtual environment and caches (never ./data)
	@rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
