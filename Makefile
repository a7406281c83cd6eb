# The only list of commands; what a target does beyond one line is a script below tests/.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help build run clean-node cluster test test-unit test-suite test-judge test-net test-node test-cluster test-skew test-volumes conformance test-vm chaos fuzz bench lint fmt install uninstall

CARGO := tests/setup/cargo.sh
PACKAGES := tests/setup/packages.sh
PREFIX ?= /usr/local
# Debian release of the test machine, 12 or 13.
DEBIAN ?= 12
# Part of a story's name: only such stories run (make test-node ONLY=crash).
ONLY ?=

help: ## Print this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1|\2/p' Makefile | while IFS='|' read -r target text; do \
	    printf 'make %-13s %s\n' "$$target" "$$text"; done

build: ## Build the agent and the CNI plugins into target/release
	@$(PACKAGES) build
	$(CARGO) build --release --locked --workspace

run: ## As root: run the pods of static-pods/ on this machine (Ctrl-C stops the agent, the pods stay)
	@$(PACKAGES) build run
	@echo 'Building without optimisation: some 4 minutes the first time on two processors, then seconds.'
	$(CARGO) build --profile quick --locked --workspace
	@tests/setup/run.sh

clean-node: ## As root: remove everything that `make run` made
	@tests/setup/clean-node.sh

cluster: ## As root: a real control plane with the agent joined, in namespaces of their own, until Ctrl-C
	@tests/setup/cluster.sh serve

test: ## As root: run all tests, with a summary by tier at the end
	@tests/setup/test.sh unit fuzz suite judge net node cluster vm

test-unit: ## Run the tests beside the code and the documentation's
	@tests/setup/test.sh unit

test-suite: ## Run the hermetic stories: the whole agent against a false runtime
	@tests/setup/test.sh suite

test-judge: ## Compare how ten thousand manifests are read with the kubelet's own code (SEED=other manifests)
	@SEED='$(SEED)' tests/setup/test.sh judge

test-net: ## Run the CNI plugins and the overlay against the real kernel, in network namespaces of their own
	@tests/setup/test.sh net

test-node: ## As root: run the stories on a real containerd, in namespaces of their own (ONLY=part of a name)
	@ONLY='$(ONLY)' tests/setup/test.sh node

test-cluster: ## As root: run the stories of a node of a real control plane, in namespaces of their own (ONLY=part of a name)
	@ONLY='$(ONLY)' tests/setup/test.sh cluster

test-skew: ## As root: join a control plane of v1.34, built once, and run a Deployment there (not part of `make test`)
	@tests/setup/test.sh skew

test-volumes: ## As root: run the stories of volumes with CSI drivers alone (ONLY=part of a name; AGENT=kubelet)
	@tests/setup/cluster.sh volumes $(ONLY)

conformance: ## As root: run Kubernetes' conformance specs on two nodes, not part of `make test` (FOCUS=, SKIP=, PROCS=4)
	@FOCUS='$(FOCUS)' SKIP='$(SKIP)' PROCS='$(PROCS)' tests/setup/cluster.sh conformance

test-vm: ## As root: boot a Debian with what `make install` installs, and run the stories there (DEBIAN=12|13)
	@ONLY='$(ONLY)' DEBIAN='$(DEBIAN)' tests/setup/test.sh vm

chaos: ## As root: a thousand faults at random on a node and on a cluster's (SEED=, FAULTS=, ONLY=part of a fault's name, WORLD=node|cluster|vm)
	@SEED='$(SEED)' FAULTS='$(FAULTS)' ONLY='$(ONLY)' tests/setup/chaos.sh $(WORLD)

fuzz: ## Feed the readers of other people's bytes at random, a minute each beside each other (FUZZ_SECONDS=3600 for an hour)
	@tests/setup/test.sh fuzz

bench: ## As root: measure the agent beside containerd alone, the Go plugins and the kubelet (ONLY=agent|plugins|cluster|serving|bulk|volumes|watching|pressure|overlay)
	@tests/setup/bench.sh $(ONLY)

lint: ## Check formatting, lints, dependencies and their licences
	@$(PACKAGES) build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --test node --test cgroups --test overlay --test cluster --test vm --test chaos --test bench --test fuzz --test judge -- -D warnings
	$(CARGO) test --locked --quiet --test dependencies

fmt: ## Format the code
	$(CARGO) fmt --all

install: ## Install what `make build` built (PREFIX=/usr/local, DESTDIR=)
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' tests/setup/install.sh

uninstall: ## Remove what `make install` installed
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' tests/setup/uninstall.sh
