.DEFAULT_GOAL := help
GO       ?= go
FUZZTIME ?= 5000x
TEST      = $(GO) test -mod=readonly -race -shuffle=on -timeout=20m

.PHONY: help dev check test lint unit e2e unit-tools test-tools fuzz rules bench

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

dev: ## run everything on this machine, with a demo mail server behind it
	$(GO) run ./cmd/wicketgate dev

check: lint unit fuzz ## static analysis, the packages' tests with race detector in random order, fuzzing

test: unit e2e ## every test; installs what they need

lint: ## formatting, module hashes, vet, staticcheck
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo 'gofmt: the files above'; exit 1; }
	$(GO) mod verify
	$(GO) vet -mod=readonly ./...
	$$(tools/build.sh staticcheck honnef.co/go/tools/cmd/staticcheck) -checks all ./...

unit: unit-tools ## the packages' own tests
	WICKETGATE_REQUIRE_E2E=1 $(TEST) $$($(GO) list ./... | grep -v /e2e)
	$(GO) test -mod=readonly -timeout=20m ./policies

e2e: test-tools ## the real binary with real clients and a real browser
	WICKETGATE_REQUIRE_E2E=1 $(TEST) ./e2e

unit-tools: ## what the packages' own tests need: PostgreSQL, PgBouncer, an OIDC provider, an OPA, a Vault, a legacy server
	@tools/postgres.sh
	@tools/npm-ci.sh e2e/idp
	@tools/build.sh opa github.com/open-policy-agent/opa >/dev/null
	@tools/build.sh vault github.com/wicketgate/wicketgate/tools/vault >/dev/null
	@tools/build.sh ../examples/legacy-postgres github.com/wicketgate/wicketgate/examples/legacy-postgres >/dev/null

test-tools: ## what the end-to-end tests need: real clients with a Node.js of their own, an OIDC provider, PostgreSQL, a Chromium, SPIRE, Vault, the server for MCP's conformance suite
	@tools/postgres.sh
	@tools/npm-ci.sh e2e/idp
	@tools/npm-ci.sh e2e/ts
	@tools/npm-ci.sh e2e/clients .bin/node
	@tools/chromium.sh
	@tools/build.sh spire github.com/spiffe/spire/cmd/spire-server >/dev/null
	@tools/build.sh spire github.com/spiffe/spire/cmd/spire-agent >/dev/null
	@tools/build.sh everything github.com/modelcontextprotocol/go-sdk/conformance/everything-server >/dev/null
	@tools/build.sh vault github.com/wicketgate/wicketgate/tools/vault >/dev/null
	@tools/build.sh ../examples/legacy-postgres github.com/wicketgate/wicketgate/examples/legacy-postgres >/dev/null

fuzz: ## every fuzz target for FUZZTIME (5000 inputs; or a time, 30s)
	@tools/fuzz.sh $(FUZZTIME)

rules: ## the rules by which secrets are found, from the version of gitleaks in tools/gitleaks
	cd tools/gitleaks && $(GO) run -mod=readonly . > rules.new && mv rules.new ../../internal/redact/rules.json

bench: ## the gateway beside a naive proxy, a plain proxy and none; the token endpoint beside bare signing, on both stores; calls with credentials of Vault; a decision by a small and a large policy
	@tools/postgres.sh
	@tools/build.sh vault github.com/wicketgate/wicketgate/tools/vault >/dev/null
	$(GO) run ./bench
	$(GO) test -run '^$$' -bench . ./exchange
	$(GO) test -run '^$$' -bench 'Size|Decide' ./policies

soak: ## ten minutes of calls, streams and hang-ups with an upstream that is killed every 20 s: nothing wrong, leaked or growing
	$(GO) run ./bench soak
