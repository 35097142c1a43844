# Bootstead's tasks. `make` or `make help` lists them. Each installs what it needs (as root, on Debian 12 or later).
.DEFAULT_GOAL := help
SHELL := /bin/bash
export PATH := $(PATH):$(HOME)/.cargo/bin

TARGET := x86_64-unknown-linux-gnu
BINARY := target/$(TARGET)/release/bootstead
SETUP := tests/tools/setup.sh

.PHONY: help build test fast-test demo e2e cluster chain cloud shapes lvs bench fuzz dist lint clean
help: ## list every task
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

build: ## build the static binary, target/…/release/bootstead
	@$(SETUP) build
	cargo static

demo: ## three blank machines become installed nodes while you watch (root, about ten minutes)
	@$(SETUP) build lab
	@$(MAKE) --no-print-directory build
	tests/lab/demo

test: ## everything that CI proves: unit tests, validators, real clients, real firmware, one installation
	@$(SETUP) build lab clients validators cluster
	tests/run

fast-test: ## only what needs neither root nor network, under two minutes
	@$(SETUP) build
	cargo test --locked

e2e: ## the demo as a test, and the real Debian installer from blank disk to second boot (root, about an hour)
	@$(SETUP) build lab
	@$(MAKE) --no-print-directory build
	tests/lab/e2e

cluster: ## bare nodes become a control plane with two computes, then it is broken on purpose (root, half an hour)
	@$(SETUP) build lab cluster
	@$(MAKE) --no-print-directory build
	tests/lab/cluster whole

cloud: ## bare nodes become a cloud: an instance boots, has its address and outlives a controller (root, half an hour)
	@$(SETUP) build lab cluster
	@$(MAKE) --no-print-directory build
	tests/lab/cloud

shapes: ## addresses that stand in for each other, etcd, Pacemaker, Ceph's monitors, monitoring (root, a quarter of an hour)
	@$(SETUP) build lab cluster
	@$(MAKE) --no-print-directory build
	tests/lab/shapes

lvs: ## directors and real servers in a real kernel with IPVS: NAT, DR, TUN, every scheduler, one of each dies (ten minutes)
	@$(SETUP) build lab cluster
	@$(MAKE) --no-print-directory build
	tests/lab/lvs

chain: ## blank machines become a pair that shares an address and survives, without internet (root, a quarter of an hour)
	@$(SETUP) build lab
	@$(MAKE) --no-print-directory build
	tests/lab/chain

bench: ## beside Kea, dnsmasq, tftpd-hpa and nginx, in one run, as ratios (root)
	@$(SETUP) build lab clients bench
	@$(MAKE) --no-print-directory build
	tests/bench/run

fuzz: ## long fuzzing of every reader of foreign bytes (libFuzzer, ten minutes each; SECONDS_EACH=N)
	@$(SETUP) build fuzz
	tests/tools/fuzz.sh

dist: ## the release: static binary with its digest, completions, man pages, licence notes
	@$(MAKE) --no-print-directory build
	tests/tools/dist.sh

lint: ## fmt, clippy, cargo-deny, the architecture test
	@$(SETUP) build
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --quiet --test tidy
	tests/tools/deny.sh

clean: ## remove everything that was built or fetched here
	rm -rf target .work
