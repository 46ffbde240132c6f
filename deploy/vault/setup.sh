#!/usr/bin/env bash
# Sets HashiCorp Vault up for Wicketgate, with bash and curl alone. What is there already is
# written again, so that it can be run as often as one likes. It takes from the environment:
#   VAULT_ADDR, VAULT_TOKEN          as the vault command does; an operator's token
#   VAULT_NAMESPACE, VAULT_CACERT    as well, where there are any
#   DATABASE_USER, DATABASE_PASSWORD for "database": whom Vault is in the database
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
  cat >&2 <<'USAGE'
usage: setup.sh jwt ISSUER AUDIENCE [CA.pem]          calls log in with their own tokens
       setup.sh cert CA.pem SPIFFE_ID                 our own login is by X.509-SVID,
       setup.sh approle FILE                          by AppRole: a wrapped secret-id goes to FILE,
       setup.sh kubernetes URL CA.pem NAMESPACE NAME  or by a service account of Kubernetes
       setup.sh server NAME jwt|child                 policies/NAME.hcl, for the calls of one server
       setup.sh database NAME URL                     a PostgreSQL, for the server NAME
       setup.sh person NAME SUBJECT GROUP             users for SUBJECT's calls, in the role GROUP
       setup.sh keys                                  keys.transit: what wraps Wicketgate's own keys
USAGE
  exit 2
}

# ask METHOD PATH [CURL OPTION...] sends what is on standard input, and prints the answer.
# The token is in no argument, which every user of the machine could read.
ask() {
  local method=$1 path=$2 answer
  shift 2
  if answer=$(curl -sS --fail-with-body --request "$method" --header @<(headers) ${VAULT_CACERT:+--cacert "$VAULT_CACERT"} "$@" "$VAULT_ADDR/v1/$path"); then
    printf '%s\n' "$answer"
  else
    printf '%s\n' "$answer" >&2
    return 1
  fi
}

headers() {
  printf 'X-Vault-Token: %s\n' "$VAULT_TOKEN"
  [ -z "${VAULT_NAMESPACE:-}" ] || printf 'X-Vault-Namespace: %s\n' "$VAULT_NAMESPACE"
}

write() { # PATH: the JSON on standard input
  ask POST "$1" --data-binary @- >/dev/null || fail "write $1"
  echo "wrote $1"
}

fail() {
  echo "setup.sh: $1 failed; Vault's answer is above" >&2
  exit 1
}

# field NAME prints a text of the JSON on standard input.
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

# quoted prints text for within a JSON string.
quoted() { printf '%s' "$1" | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' | awk 'NR > 1 { printf "\\n" } { printf "%s", $0 }'; }

# fill FILE NAME=VALUE... prints the file with each @NAME@ replaced.
fill() {
  local text pair
  text=$(<"$here/$1")
  shift
  for pair in "$@"; do
    text=${text//"@${pair%%=*}@"/"${pair#*=}"}
  done
  printf '%s\n' "$text"
}

policy() { # NAME FILE [NAME=VALUE...]
  local name=$1
  shift
  [ -s "$here/$1" ] || { echo "setup.sh: there is no $here/$1: write there what the calls may read, like policies/reports.hcl" >&2; exit 2; }
  printf '{"policy":"%s"}' "$(fill "$@" | base64 | tr -d '\n')" | write "sys/policies/acl/$name"
}

mount() { # auth|mounts PATH TYPE
  local there
  there=$(ask GET "sys/$1") || fail "read sys/$1"
  case $there in
  *"\"$2/\":"*) ;;
  *) printf '{"type":"%s"}' "$3" | write "sys/$1/$2" ;;
  esac
}

# name refuses what would be another thing in a path, in JSON or in a policy.
name() {
  case $1 in
  '' | *[!A-Za-z0-9@._+-]* | . | ..) echo "setup.sh: \"$1\" is no name: letters, digits and @._+-" >&2; exit 2 ;;
  esac
}

own() { # what our own login may do
  policy wicketgate-call policies/call.hcl
  policy wicketgate policies/own.hcl
  [ "$1" = jwt ] || policy wicketgate-children policies/own-children.hcl
}

jwt() { # ISSUER AUDIENCE [CA.pem]
  own jwt
  mount auth jwt jwt
  local ca=
  [ -z "${3:-}" ] || ca=$(quoted "$(<"$3")")
  printf '{"jwks_url":"%s/oauth2/jwks","bound_issuer":"%s","jwks_ca_pem":"%s","jwt_supported_algs":["ES256","EdDSA"]}' "$1" "$1" "$ca" |
    write auth/jwt/config
  fill roles/jwt-own.json AUDIENCE="$2" | write auth/jwt/role/wicketgate
}

cert() { # CA.pem SPIFFE_ID
  own child
  mount auth cert cert
  fill roles/cert-own.json CA="$(quoted "$(<"$1")")" SPIFFE_ID="$2" | write auth/cert/certs/wicketgate
}

approle() { # FILE
  own child
  mount auth approle approle
  fill roles/approle-own.json | write auth/approle/role/wicketgate
  local id wrapped
  id=$(ask GET auth/approle/role/wicketgate/role-id | field role_id) || fail "read the role_id"
  wrapped=$(ask POST auth/approle/role/wicketgate/secret-id --header 'X-Vault-Wrap-TTL: 1h' </dev/null) || fail "make a secret-id"
  (umask 077 && printf '%s\n' "$wrapped" | sed -n 's/.*"wrap_info":{"token":"\([^"]*\)".*/\1/p' >"$1")
  echo "role_id: $id"
  echo "secret_id_file: $1 # a wrapping token, good for an hour: wrapped: true"
}

kubernetes() { # URL CA.pem NAMESPACE NAME
  own child
  mount auth kubernetes kubernetes
  printf '{"kubernetes_host":"%s","kubernetes_ca_cert":"%s"}' "$1" "$(quoted "$(<"$2")")" | write auth/kubernetes/config
  fill roles/kubernetes-own.json NAMESPACE="$3" ACCOUNT="$4" | write auth/kubernetes/role/wicketgate
}

server() { # NAME jwt|child
  name "$1"
  case $1 in
  root | default | wicketgate*) echo "setup.sh: $1 is the name of a policy that is something else: call the server otherwise" >&2; exit 2 ;;
  esac
  local audience accessor
  if [ "$2" = child ]; then
    policy "$1" "policies/$1.hcl" PERSON='*'
    fill roles/token-server.json SERVER="$1" | write "auth/token/roles/wicketgate-$1"
    return
  fi
  accessor=$(ask GET sys/auth/jwt | field accessor) &&
    audience=$(ask GET auth/jwt/role/wicketgate | sed -n 's/.*"bound_audiences":\["\([^"]*\)"\].*/\1/p') &&
    [ -n "$accessor" ] && [ -n "$audience" ] || fail "read what setup.sh jwt writes (run that first)"
  policy "$1" "policies/$1.hcl" PERSON="{{identity.entity.aliases.$accessor.name}}"
  fill roles/jwt-server.json SERVER="$1" AUDIENCE="$audience" | write "auth/jwt/role/$1"
}

database() { # NAME URL
  name "$1"
  mount mounts database database
  printf '{"plugin_name":"postgresql-database-plugin","allowed_roles":["%s-*"],"connection_url":"%s","username":"%s","password":"%s","password_authentication":"scram-sha-256"}' \
    "$1" "$(quoted "$2")" "$(quoted "${DATABASE_USER:-}")" "$(quoted "${DATABASE_PASSWORD:-}")" | write "database/config/$1"
}

person() { # NAME SUBJECT GROUP
  name "$1" && name "$2" && name "$3"
  fill roles/database-person.json SERVER="$1" GROUP="$3" | write "database/roles/$1-$2"
}

# keys makes the key that wraps ours. What is there is left as it is. Our own login has the
# policy already, which says nothing before it is written.
keys() {
  policy wicketgate-keys policies/wicketgate-keys.hcl
  mount mounts transit transit
  printf '{"type":"aes256-gcm96"}' | write transit/keys/wicketgate
}

case "${1:-} $#" in
"jwt 3" | "jwt 4" | "cert 3" | "approle 2" | "kubernetes 5" | "database 3" | "person 4" | "keys 1") ;;
"server 3") case $3 in jwt | child) ;; *) usage ;; esac ;;
*) usage ;;
esac
: "${VAULT_ADDR:?is the address of Vault, like https://vault.example.com:8200}" "${VAULT_TOKEN:?is a token of an operator of Vault}"
"$@"
