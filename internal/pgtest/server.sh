#!/bin/sh
# server.sh BINARIES FOLDER: a PostgreSQL in FOLDER/data, with its socket in
# FOLDER, until stdin ends. That comes however the test ends, a panic or a SIGKILL
# included. Then it is stopped and FOLDER removed. It says "ready" once it is.
set -eu
trap '' HUP INT TERM PIPE # stdin alone decides
bin=$1 dir=$2
trap '"$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null 2>&1 || :; rm -rf "$dir"' EXIT
cd "$dir"
# A dictionary's order, so that what wants the order of bytes has to say so.
"$bin/initdb" -D data -U postgres --auth=trust -N -E UTF8 --locale=C.UTF-8 --locale-provider=icu --icu-locale=und >/dev/null
"$bin/pg_ctl" -D data -w -l log -o "-k '$dir' -c listen_addresses= -c max_connections=200 -c deadlock_timeout=50ms \
  -c fsync=off -c synchronous_commit=off -c full_page_writes=off" start >/dev/null || { cat log >&2; exit 1; }
echo ready
cat >/dev/null
