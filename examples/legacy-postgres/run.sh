#!/usr/bin/env bash
# The demonstration of README.md.
#   run.sh                            sets everything up and runs it, until Ctrl-C
#   run.sh setup                      sets the database and Vault up, for a gateway that runs
#   run.sh query SERVER PERSON SQL    one call, by the agent for PERSON (alice or bob)
# It takes from the environment:
#   VAULT_ADDR, VAULT_TOKEN           an operator's token of a Vault
#   PGDATABASE, PGUSER, PGPASSWORD    a database, and who may make users and tables there
#   PGHOST, PGPORT                    where it is, for us and for Vault alike: 127.0.0.1, 5432
#   WORK                              the folder to work in: ./demo
#   LISTEN, ADMIN, REPORTS            addresses of the gateway, and of the server over HTTP
#   WICKETGATE, LEGACY_POSTGRES       programs; they are built where there are none
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$here/../..
export PGHOST=${PGHOST:-127.0.0.1} PGPORT=${PGPORT:-5432}
work=${WORK:-$PWD/demo}
listen=${LISTEN:-127.0.0.1:8420}
admin=${ADMIN:-127.0.0.1:8421}
reports=${REPORTS:-127.0.0.1:9000}
issuer=http://$listen

build() {
  mkdir -p "$work"
  [ -n "${WICKETGATE:-}" ] || (cd "$root" && go build -o "$work/wicketgate" ./cmd/wicketgate)
  [ -n "${LEGACY_POSTGRES:-}" ] || (cd "$here" && go build -o "$work/legacy-postgres" .)
  WICKETGATE=${WICKETGATE:-$work/wicketgate} LEGACY_POSTGRES=${LEGACY_POSTGRES:-$work/legacy-postgres}
}

# configure writes what the gateway reads: the files here, with the addresses of this machine.
configure() {
  umask 077
  for who in alice bob agent; do
    [ -s "$work/$who.secret" ] || od -An -N32 -tx1 /dev/urandom | tr -d " \n" >"$work/$who.secret"
  done
  cp "$here/access.yaml" "$work/access.yaml"
  sed -e "s|127.0.0.1:8420|$listen|; s|127.0.0.1:8421|$admin|; s|http://127.0.0.1:8200|$VAULT_ADDR|; s|127.0.0.1:9000|$reports|" \
    -e "s|127.0.0.1:5432/app|$PGHOST:$PGPORT/$PGDATABASE|; s|\"5432\"|\"$PGPORT\"|; s|/usr/local/bin/legacy-postgres|$LEGACY_POSTGRES|" \
    "$here/wicketgate.yaml" >"$work/wicketgate.yaml"
}

# database makes a table, a role that may read it, and one that may write it as well.
database() {
  psql -q -X -v ON_ERROR_STOP=1 -v readers="${PGDATABASE}_readers" -v writers="${PGDATABASE}_writers" <<'SQL'
SET client_min_messages = warning;
SELECT format('CREATE ROLE %I NOLOGIN', name) FROM (VALUES (:'readers'), (:'writers')) AS r (name)
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
CREATE TABLE IF NOT EXISTS orders (id serial PRIMARY KEY, what text NOT NULL);
GRANT SELECT ON orders TO :"readers", :"writers";
GRANT INSERT ON orders TO :"writers";
GRANT USAGE ON SEQUENCE orders_id_seq TO :"writers";
SQL
}

# vault is told whom to believe, and what each person gets of each server.
vault() {
  local setup=$root/deploy/vault/setup.sh server
  "$setup" jwt "$issuer" "$VAULT_ADDR"
  for server in reports ledger; do
    DATABASE_USER=$PGUSER DATABASE_PASSWORD=${PGPASSWORD:-} "$setup" database $server "postgres://{{username}}:{{password}}@$PGHOST:$PGPORT/$PGDATABASE"
    "$setup" person $server alice "${PGDATABASE}_readers"
    "$setup" person $server bob "${PGDATABASE}_writers"
    "$setup" server $server jwt
  done
}

setup() { database && vault; }

run() {
  build && configure
  trap 'kill $(jobs -p) 2>/dev/null || :; wait' EXIT
  env -u PGUSER -u PGPASSWORD "$LEGACY_POSTGRES" -listen "$reports" -database "host=$PGHOST port=$PGPORT dbname=$PGDATABASE" &
  : >"$work/ready" # what another program says on its port does not count
  "$WICKETGATE" serve --config "$work/wicketgate.yaml" >"$work/ready" &
  until grep -q ^ready "$work/ready"; do
    kill -0 $! 2>/dev/null || { echo "run.sh: the gateway did not start; why is above" >&2 && exit 1; }
    sleep 0.2
  done
  setup
  cat <<NEXT

It runs, until Ctrl-C. In another terminal:
  $here/run.sh query reports alice 'SELECT current_user'    # another user each time
  $here/run.sh query ledger bob "INSERT INTO orders (what) VALUES ('tea') RETURNING id"
  $here/run.sh query ledger alice "INSERT INTO orders (what) VALUES ('tea') RETURNING id"    # PostgreSQL refuses
  psql -c "SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%'"    # nobody is left
  grep '"kind":"lease"' $work/data/audit.jsonl
NEXT
  wait -n
}

# token prints an access token for SERVER, of WHO, with further parameters of the request.
token() { # SERVER WHO PARAMETER...
  curl -sS --config <(printf 'user = "%s:%s"\n' "$2" "$(<"$work/$2.secret")" && printf 'data-urlencode = "%s"\n' "resource=$issuer/mcp/$1" "${@:3}") "$issuer/oauth2/token" |
    sed -n 's/.*"access_token":"\([^"]*\)".*/\1/p'
}

query() { # SERVER PERSON SQL
  local person agent sql type=urn:ietf:params:oauth
  person=$(token "$1" "$2" grant_type=client_credentials)
  agent=$(token "$1" agent "grant_type=$type:grant-type:token-exchange" "subject_token_type=$type:token-type:access_token" "subject_token=$person")
  sql=$(printf '%s' "$3" | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g')
  curl -sS --header @<(printf 'Authorization: Bearer %s\n' "$agent") -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \
    -H 'MCP-Protocol-Version: 2026-07-28' -H 'Mcp-Method: tools/call' -H 'Mcp-Name: query' --data-binary @- "$issuer/mcp/$1" <<JSON
{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"query","arguments":{"sql":"$sql"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"run.sh","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}
JSON
  echo
}

case "${1:-run} $#" in
"run 0" | "run 1" | "setup 1") : "${VAULT_ADDR:?}" "${VAULT_TOKEN:?}" "${PGDATABASE:?}" "${PGUSER:?}" && ${1:-run} ;;
"query 4") "$@" ;;
*) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
esac
