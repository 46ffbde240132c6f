#!/usr/bin/env bash
# fuzz.sh TIME: run every fuzz target of the module for TIME, or for as many inputs as 5000x says (a time that ends on a busy machine may fail a run for nothing).
set -euo pipefail
cd "$(dirname "$0")/.."
grep -rl --include='*_test.go' '^func Fuzz' . | grep -v node_modules | while read -r file; do
  grep -oE '^func Fuzz[A-Za-z0-9_]+' "$file" | sed 's/^func //' | while read -r target; do
    echo "fuzz $(dirname "$file") $target"
    go test -mod=readonly -run='^$' -fuzz="^$target\$" -fuzztime="$1" -fuzzminimizetime=20x "$(dirname "$file")" </dev/null
  done
done
