# Everything a person does in this checkout, one word each. `make help` lists them.
SHELL := /bin/bash
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
export NODE_COMPILE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/beyondfabric/compiled
TEST := node --test --test-reporter=./tools/test-reporter.ts

.NOTPARALLEL:
.PHONY: help setup setup-kubernetes check types lint format-check generated format test unit system verify demo bench build clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

setup: ## install what is missing on a fresh Debian 12 (root)
	@tools/setup.sh

setup-kubernetes: ## the same, and build a real kube-apiserver for `make verify` (minutes, once)
	@tools/setup.sh kubernetes

check: setup types lint format-check generated ## types, lint, format, generated files; seconds
	@echo "check: clean"

types:
	@tsc -p tsconfig.json

lint:
	@oxlint --type-aware --quiet .
	@node tools/check-arrows.ts
	@node tools/check-errors.ts

format-check:
	@oxfmt --check . >/dev/null || { echo "format: run 'make format'"; exit 1; }

generated:
	@node tools/generate-crds.ts --check
	@node tools/generate-pipeline.ts --check

format: ## rewrite files in the project's format, generated ones anew
	@oxfmt . >/dev/null
	@node tools/generate-crds.ts
	@node tools/generate-pipeline.ts

test: setup ## everything that needs no real Kubernetes: unit, real OVS, the lab's system tests
	@$(TEST) --test-concurrency=2 'packages/*/test/**/*.test.ts' 'bench/test/**/*.test.ts'
	@$(TEST) --test-concurrency=2 'test/system/*.test.ts'

unit: setup ## only the tests of the packages
	@$(TEST) --test-concurrency=2 'packages/*/test/**/*.test.ts'

system: setup ## only the system tests, on the lab's embedded control plane
	@$(TEST) --test-concurrency=2 'test/system/*.test.ts'

verify: setup-kubernetes ## the long ones: the system tests on a real etcd and kube-apiserver, a minute without it, ten minutes of silence
	@KUBEBUILDER_ASSETS="$$(tools/kubernetes-assets.sh)" FABRIC_CONTROL_PLANE=kubernetes FABRIC_LONG=1 node tools/verify.ts

demo: setup ## three nodes, real pods, entries that appear with the first packet
	@node test/demo.ts

bench: setup ## measure side by side with peers; a table of ratios
	@node bench/main.ts

build: setup ## one JavaScript file per program in build/, for images
	@node tools/build.ts

clean: ## take away what the lab may have left
	@bin/fabric-lab down --name demo || true
