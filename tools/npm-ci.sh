#!/usr/bin/env bash
# npm-ci.sh DIR: install DIR's locked packages, unless they are there.
set -euo pipefail
cd "$1"
stamp=node_modules/.wicketgate-stamp
key=$(sha256sum package.json package-lock.json | sha256sum)
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$key" ]; then
  command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or later" >&2; exit 1; }
  npm ci --prefer-offline --no-audit --no-fund --loglevel=error
  echo "$key" >"$stamp"
fi
