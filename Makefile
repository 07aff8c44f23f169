# `make demo` and `make test` do all their own set-up, system packages included; the second run installs nothing.

SHELL := /bin/sh
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help demo test many check fast lock docs tutorial differential bench bench-quick clean
MAKEFLAGS += --no-print-directory

help: ## What there is
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

demo: ## The whole product in a minute: a stack of sandboxes on this machine, through its whole life
	@scripts/bootstrap --hosts demo
	@$(BIN)/python scripts/preflight.py
	@$(BIN)/python scripts/demo.py

test: ## Everything CI checks: style, types, architecture, and the whole test suite on real SSH hosts
	@scripts/test

many: ## One run on 500 real SSH hosts (N=...), a few of them dead or frozen
	@scripts/bootstrap --tests
	@MANY_HOSTS=$(or $(N),500) $(BIN)/pytest -q tests/integration/test_many_hosts.py

check: ## Style, types and architecture, in seconds
	@scripts/bootstrap
	@scripts/check

fast: ## The tests that need no root
	@scripts/bootstrap
	@$(BIN)/pytest -q -n auto --dist worksteal -m "not sandbox"

lock: ## Write requirements.lock anew (UPGRADE=1: with the newest versions)
	@scripts/bootstrap
	@scripts/lock

docs: ## Write the generated pages of docs/ and stacks/opsflow.schema.json anew
	@scripts/bootstrap
	@$(BIN)/python scripts/docs.py

tutorial: ## Do the tutorial and write down what it printed
	@scripts/bootstrap --hosts tutorial
	@$(BIN)/python scripts/tutorial.py

differential: ## Compare with pyinfra at length and write docs/differential.md (N=100: random programs; SEED=...)
	@scripts/bootstrap --tests
	@SEED=$(SEED) $(BIN)/python scripts/differential.py $(N)

bench: ## opsflow beside pyinfra, Ansible, OpenSSH and paramiko on real SSH hosts; see bench/README.md
	@scripts/bootstrap --hosts bench
	@$(BIN)/python -m bench $(BENCH)

bench-quick: ## The same on ten hosts, in two minutes
	@scripts/bootstrap --hosts bench-quick
	@$(BIN)/python -m bench --quick $(BENCH)

clean: ## Remove everything that make made here
	rm -rf .venv bench/.venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
