#!/usr/bin/env bash
# npm-ci.sh DIR [FILE...]: install DIR's locked packages, unless they are there, and see
# that they have the FILEs: npm says nothing of an optional package that it left out.
set -euo pipefail
cd "$1"
stamp=node_modules/.wicketgate-stamp
key=$(sha256sum package.json package-lock.json | sha256sum)
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$key" ]; then
  command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or later" >&2; exit 1; }
  npm ci --prefer-offline --no-audit --no-fund --loglevel=error
  for wanted in "${@:2}"; do
    [ -e "node_modules/$wanted" ] || { echo "npm did not install $1/node_modules/$wanted, which it has for Linux only" >&2; exit 1; }
  done
  echo "$key" >"$stamp"
fi
