#!/usr/bin/env bash
# run.sh URL REVISION OUTPUT: MCP's own conformance suite against the server at
# URL: what the revision of the specification requires of a server (2025-11-25, 2026-07-28).
# OUTPUT/server-SCENARIO-TIME/checks.json then has every check.
#
# It sends no token. The tests of e2e that are called TestConformance… start a server, the
# gateway and what adds the token, run this, and compare:
#
#   make test-tools && go test ./e2e -run TestConformance
set -euo pipefail
[ $# -eq 3 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
bin=$(cd "$(dirname "$0")/../e2e/clients" && pwd)/node_modules/.bin
PATH=$bin:$PATH # its Node.js: the suite needs 22 or later
exec conformance server --url "$1" --requirements "$2" --output-dir "$3"
