# Everything a person does in this checkout, one word each. `make help` lists them.
SHELL := /bin/bash
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
NODE_TEST := node --test --test-reporter=./tools/test-reporter.ts

.PHONY: help setup check lint types format-check generated format test unit interop system verify demo bench simulate clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## install what is missing on a fresh Debian 12 (root)
	@tools/setup.sh

check: setup types lint format-check generated ## types, lint, format, generated files
	@echo "check: clean"

types:
	@tsc -p tsconfig.json

lint:
	@oxlint --type-aware --quiet .
	@node tools/check-arrows.ts

format-check:
	@oxfmt --check .

format: ## rewrite files in the project's format
	@oxfmt .

clean: ## remove what builds left behind
	@rm -rf build
