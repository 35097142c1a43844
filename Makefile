# Bootstead's tasks. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash

.PHONY: help test lint
help: ## list every task
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

test: ## everything that CI proves
	cargo test --locked

lint: ## fmt, clippy
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
