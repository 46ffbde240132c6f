#!/usr/bin/env bash
# build.sh [-n] NAME PACKAGE: build a tool of tools/NAME, which may be a path such as
# ../examples/X (its own go.mod), once, into a cache outside of the repository keyed by
# its sources, and print the binary's path.
# With -n: only print it.
set -euo pipefail
print=
if [ "$1" = -n ]; then print=1; shift; fi
here=$(cd "$(dirname "$0")" && pwd)
name=$(basename "$1") package=$2
cd "$here/$1"
key=$( { go env GOVERSION GOOS GOARCH; find . -type f | LC_ALL=C sort | xargs sha256sum; } | sha256sum | cut -c1-24)
bin=${WICKETGATE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/wicketgate/tools}/$name-$key/$(basename "$package")
if [ ! -x "$bin" ] && [ -z "$print" ]; then
  mkdir -p "$(dirname "$bin")"
  nice go build -mod=readonly -trimpath -ldflags='-s -w' -o "$bin.new" "$package" >&2
  mv "$bin.new" "$bin"
fi
echo "$bin"
