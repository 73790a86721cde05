# Every target sets up what it needs in its own virtual environment; nothing else is installed on the machine.
EXTRAS  := aiohttp,jwt,mcp,otel,postgres,redis,server
export VENV := .venv$(if $(PYTHON),-$(notdir $(PYTHON)))# PYTHON=python3.12 has an environment of its own
RUNTIME := $(VENV)/.runtime-stamp
DEV     := $(VENV)/.dev-stamp
LOCK    := scripts/requirements.lock
BENCH   := .venv-bench-peers/.stamp
DOCS    := .venv-docs/.stamp

.DEFAULT_GOAL := help
.PHONY: help demo test smoke soak proof matrix lint format lock bench docs clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: $(RUNTIME) ## watch an agent do a real job (CRASH=1: kill it twice on the way)
	$(VENV)/bin/agent-runtime demo $(if $(filter-out 0,$(CRASH)),--crash)

test: $(DEV) ## run every test (ARGS="-k budget" narrows it; COVERAGE=1 measures what they reach)
	scripts/test $(ARGS)

smoke: $(DEV) ## try another interpreter with a crashing job and the unit tests (PYTHON=python3.12)
	scripts/smoke

soak: $(DEV) ## play random lives (SECONDS=60 SEED=1 STORAGE=memory|sqlite|postgres STORIES=…)
	scripts/soak --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1) --storage $(or $(STORAGE),memory) --stories $(or $(STORIES),0)

proof: $(DEV) ## play the soak's long form once on every storage, logs in build/proof (SECONDS=1800 SEED=1000000)
	scripts/proof $(or $(SECONDS),1800) $(or $(SEED),1000000)

matrix: $(DEV) ## kill processes at every moment of every step, and write the table in docs/guarantees.md
	scripts/matrix

lint: $(DEV) ## check format, lint rules, types and layers
	scripts/lint

format: $(DEV) ## format the code and fix what can be fixed
	$(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix .

lock: ## write scripts/requirements.lock anew (LOCKED=1 installs from it alone, hashes checked)
	scripts/lock

bench: $(DEV) $(BENCH) ## compare with the vendors' SDKs, LangGraph and DBOS (ARGS="--record" writes docs/benchmarks)
	$(VENV)/bin/python benchmarks/client/run.py $(ARGS)
	$(VENV)/bin/python benchmarks/runtime/run.py $(ARGS)
	$(VENV)/bin/python benchmarks/runtime/run_budgets.py $(ARGS)
	$(VENV)/bin/python benchmarks/runtime/run_holds.py $(ARGS)
	$(VENV)/bin/python benchmarks/runtime/run_postgres.py $(ARGS)
	$(VENV)/bin/python benchmarks/logging/run.py $(ARGS)
	$(VENV)/bin/python benchmarks/logging/run_peers.py $(ARGS)
	$(VENV)/bin/python benchmarks/logging/run_rows.py $(ARGS)
	$(VENV)/bin/python benchmarks/server/run_service.py $(ARGS)
	$(VENV)/bin/python benchmarks/server/run_peers.py $(ARGS)

docs: $(DOCS) ## build the documentation into build/docs and check its links
	scripts/docs

clean: ## remove everything the targets made
	rm -rf .venv .venv-python* .venv-lock .venv-bench-peers .venv-bench-client .venv-bench-litellm .venv-bench-langfuse .venv-bench-services .venv-docs build dist .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .grimp_cache .cache

ifdef LOCKED
$(RUNTIME): pyproject.toml scripts/venv $(LOCK)
	scripts/venv $(VENV) --require-hashes -r $(LOCK) && $(VENV)/bin/python -m pip install -qq --no-deps --no-build-isolation -e . && touch $@

$(DEV): $(RUNTIME)
	touch $@
else
$(RUNTIME): pyproject.toml scripts/venv
	scripts/venv $(VENV) -e . && touch $@

$(DEV): $(RUNTIME)
	scripts/venv $(VENV) -e '.[$(EXTRAS)]' --group dev && touch $@
endif

$(BENCH): benchmarks/runtime/peers/requirements.txt scripts/venv
	scripts/venv .venv-bench-peers -r benchmarks/runtime/peers/requirements.txt && touch $@

$(DOCS): scripts/docs-requirements.txt scripts/venv
	scripts/venv .venv-docs -r scripts/docs-requirements.txt && touch $@
