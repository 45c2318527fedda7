# A thin front: set up, then ask the `aybiza` command. Everything it makes lies in .venv, .cache and .state.
.PHONY: help setup demo test check bench rival fuzz chaos simulate up down clean lock
.DEFAULT_GOAL := help
BIN := .venv/bin

help: ## What can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: ## Install what is missing: programs, packages, Kafka
	@sh infra/local/setup.sh

demo: setup ## One spoken call, from the ring to the record
	@$(BIN)/aybiza demo

test: check ## Every check and every test
	@$(BIN)/python -m tests.again -n 3 --dist loadfile

check: setup ## Format, lint, types, floors and rooms, schemas
	@$(BIN)/ruff format --check --quiet --output-format concise . || { echo "Type: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/aybiza schemas check

bench: setup ## Measure: make bench NAME=log
	@test -n "$(NAME)" || { echo "Which? make bench NAME=$$(ls tests/benchmarks | sed -n 's/^\([a-z].*\)\.py$$/\1/p' | paste -sd '|' -)"; exit 2; }
	@$(BIN)/python -m tests.benchmarks.$(NAME)

simulate: setup ## Break everything, by seeds: make simulate SEED=1 STEPS=1000000 WITHOUT= EXHAUSTIVE=
	@SEED=$(SEED) STEPS=$(STEPS) WITHOUT=$(WITHOUT) EXHAUSTIVE=$(EXHAUSTIVE) $(BIN)/python -m tests.simulator

rival: setup ## The rival of make bench NAME=call, in an environment of its own
	@test -x .cache/pipecat/bin/python || { python3 -m venv .cache/pipecat && .cache/pipecat/bin/pip install -q --disable-pip-version-check \
		"pipecat-ai[aws,deepgram,silero,websocket]==1.14.0" fastapi uvicorn uvloop; }

fuzz: setup ## Strange messages on media sockets, by a seed: make fuzz MESSAGES=100000 SEED=1
	@FUZZ_MESSAGES=$(or $(MESSAGES),100000) FUZZ_SEED=$(or $(SEED),1) $(BIN)/python -m pytest -q tests/realtime/test_media_fuzz.py

chaos: setup ## Kill, freeze and restart owners and brokers under load: make chaos MINUTES=5 SEED=7
	@$(BIN)/python -m tests.chaos "$(MINUTES)" "$(SEED)"

up: setup ## Start or mend Kafka, PostgreSQL and Redis
	@$(BIN)/aybiza up

down: ## Stop them; data stays
	@if [ -x $(BIN)/aybiza ]; then $(BIN)/aybiza down; fi

clean: down ## Stop them and forget their data; downloads stay
	@rm -rf .state .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

lock: ## Pin the packages anew (needs uv)
	@command -v uv >/dev/null || { echo "uv is missing. Type: pip install uv"; exit 1; }
	@uv lock && uv export -q --python python3.11 --no-emit-project --no-header --all-extras --all-groups -o requirements.lock
