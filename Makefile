.DEFAULT_GOAL := help
GO       ?= go
FUZZTIME ?= 10s
PACKAGES  = ./...

.PHONY: help dev check test test-tools fuzz bench

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

dev: ## run everything on this machine, with a demo mail server behind it
	$(GO) run ./cmd/wicketgate dev

check: ## formatting, static analysis, module hashes, fuzzing
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo 'gofmt: the files above'; exit 1; }
	$(GO) mod verify
	$(GO) vet -mod=readonly $(PACKAGES)
	$$(tools/build.sh staticcheck honnef.co/go/tools/cmd/staticcheck) -checks inherit,ST1005,ST1016,ST1020,ST1021,ST1022 $(PACKAGES)
	$(MAKE) --no-print-directory fuzz

test: test-tools ## every test, with the race detector and in random order; installs what they need
	WICKETGATE_REQUIRE_E2E=1 $(GO) test -mod=readonly -race -shuffle=on $(PACKAGES)

test-tools: ## what the tests need: the TypeScript client, a Chromium
	@tools/npm-ci.sh e2e/ts
	@tools/chromium.sh

fuzz: ## every fuzz target for FUZZTIME (10s)
	@tools/fuzz.sh $(FUZZTIME)

bench: ## the gateway beside a naive proxy, a plain proxy and none; the token endpoint beside bare signing
	$(GO) run ./bench
