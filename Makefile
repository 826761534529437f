# Each target's help line is the comment behind `##`. `make help` prints them.
.DEFAULT_GOAL := help
.PHONY: help demo test check chaos conformance bench deny setup

help: ## Print this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Build the release binary, crawl real MCP servers, search three times, call one tool.
	@tests/setup/demo.sh

test: ## Format check, clippy, and every unit, integration and end-to-end test.
	@tests/setup/test.sh

check: ## Only the format check and clippy.
	@tests/setup/test.sh check

chaos: ## What quarantine does to tools that fail, drift, flap and recover: the table of README.
	cargo test --workspace --test e2e --quiet quarantine_pays -- --nocapture

conformance: ## The official MCP conformance suite, legs A, B and C (LEGS="A" for one).
	@tests/setup/conformance.sh $(LEGS)

bench: ## The benchmarks behind the figures of README.
	cargo bench --workspace --bench '*'

deny: ## Check licences, bans and sources of all dependencies (with cargo-deny where it is installed).
	@tests/setup/deny.sh

setup: ## Fetch the pinned servers and tools that demo and tests use into .tools/.
	tests/setup/setup.sh all
