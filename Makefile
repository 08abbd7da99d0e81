# Each word does what it says, installing and building what it needs first. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export PATH := $(CURDIR)/.tools/bin:$(PATH):/usr/local/sbin:/usr/sbin:/sbin
NODE := .tools/bin/node
SCRIPT := $(NODE) --disable-warning=ExperimentalWarning

TS_SOURCES = $(shell find src -name '*.ts' 2>/dev/null)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(NODE): scripts/node
	@scripts/node --link >/dev/null

.PHONY: node
node: $(NODE) ## fetch Node.js if the machine's own is too old; print its path
	@readlink -f $(NODE)

.PHONY: deps
deps: $(NODE) ## install the pinned npm packages
	@scripts/deps

.PHONY: build
build: deps ## compile the addon into build/Release/ravel.node
	@scripts/system-packages build
	@scripts/build-addon

.PHONY: bundle
bundle: build ## build what is released: dist/ravel-agent.js and dist/native
	@$(SCRIPT) scripts/bundle.ts

.PHONY: test
test: bundle ## run all test layers but e2e (LAYERS=unit,netns selects)
	@scripts/system-packages net bgp
	@$(SCRIPT) test/run.ts $(if $(LAYERS),--layers=$(LAYERS))

.PHONY: test-unit test-property test-fake
test-unit: deps ## tests of the pure parts
	@$(SCRIPT) test/run.ts --layers=unit
test-property: deps ## property tests
	@$(SCRIPT) test/run.ts --layers=property
test-fake: deps ## drivers and loop on the fake kernel
	@$(SCRIPT) test/run.ts --layers=fake

.PHONY: test-native test-netns test-vm
test-native: build ## the addon: misuse, sanitizers, leaks
	@$(SCRIPT) test/run.ts --layers=native
test-netns: bundle ## against the running kernel, in network namespaces
	@scripts/system-packages net bgp
	@$(SCRIPT) test/run.ts --layers=netns
test-vm: bundle ## IPVS and real packets, in a VM if this kernel has no ip_vs
	@scripts/system-packages net bgp
	@$(SCRIPT) test/run.ts --layers=vm

.PHONY: test-e2e soak
test-e2e: bundle ## agents on a real Kubernetes control plane (needs Go); prints the table, writes build/e2e.json
	@scripts/system-packages net e2e
	@$(SCRIPT) test/run.ts --layers=e2e
soak: bundle ## API server away for DOWN (30m), then changes for CHURN (20m); prints the slope of the memory; 0s leaves a part out
	@scripts/system-packages net e2e
	@$(SCRIPT) test/e2e/soak.ts $(if $(DOWN),--down=$(DOWN)) $(if $(CHURN),--churn=$(CHURN))

.PHONY: bench
bench: bundle ## measure against the goals; writes build/bench.json
	@scripts/system-packages net bgp e2e
	@$(SCRIPT) test/bench/run.ts

.PHONY: demo
demo: bundle ## a cluster of namespaces, real agents, real packets
	@demo/run

.PHONY: lint
lint: deps ## types, rules, format and C++ analysis
	@scripts/system-packages build lint
	@scripts/lint

.PHONY: fmt
fmt: deps ## format everything
	@scripts/system-packages lint
	@$(SCRIPT) node_modules/prettier/bin/prettier.cjs --log-level=warn --write .
	@find native test -name '*.cc' -o -name '*.h' | xargs -r clang-format -i

.PHONY: fuzz
fuzz: deps ## fuzz the netlink readers for SECONDS (60) each; needs clang
	@scripts/fuzz-native $(SECONDS)

.PHONY: docs
docs: deps ## write docs/native.md, the schema of the chart, and the README's examples and figures from their sources
	@$(SCRIPT) scripts/generate-native-docs.ts
	@$(SCRIPT) scripts/command-docs.ts
	@$(SCRIPT) scripts/dataplane-docs.ts
	@$(SCRIPT) scripts/metric-docs.ts
	@$(SCRIPT) scripts/chart.ts
	@$(SCRIPT) scripts/readme.ts

.PHONY: vm vm-run
vm: $(NODE) ## a shell on a kernel with IPVS
	@test/vm/run --interactive
vm-run: $(NODE) ## run CMD='...' on a kernel with IPVS
	@: $(if $(CMD),,$(error CMD is empty: make vm-run CMD='ipvsadm -Ln'))
	@test/vm/run -- "$$VM_COMMAND"
vm-run: export VM_COMMAND = $(value CMD)

.PHONY: clean
clean: ## remove what was built here (the download cache stays)
	@rm -rf build dist node_modules .tools
