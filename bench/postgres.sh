#!/bin/sh
# postgres.sh BINARIES FOLDER: a PostgreSQL in FOLDER/data, with its socket in
# FOLDER, until stdin ends. That comes however the bench ends, a SIGKILL included.
# Then it is stopped and FOLDER removed. Unlike the one of the tests, it writes to
# disk in earnest, as in production. It says its process and "ready FOLDER".
set -eu
trap '' HUP INT TERM PIPE # stdin alone decides
bin=$1 dir=$2 as=
trap '$as "$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null 2>&1 || :; rm -rf "$dir"' EXIT
if [ "$(id -u)" = 0 ]; then # the server refuses to be root
  chown postgres "$dir"
  as='setpriv --reuid postgres --regid postgres --clear-groups'
fi
cd "$dir"
$as "$bin/initdb" -D data -U postgres --auth=trust -N -E UTF8 --locale=C.UTF-8 >/dev/null
# Beyond the defaults: room for the tables, and neither a checkpoint nor a vacuum in
# the midst of a round.
$as "$bin/pg_ctl" -D data -w -l log -o "-k '$dir' -c listen_addresses= \
  -c shared_buffers=512MB -c max_wal_size=8GB -c checkpoint_timeout=1h -c autovacuum_naptime=1h" start >/dev/null || { cat log >&2; exit 1; }
echo "process $(head -n 1 data/postmaster.pid)"
echo "ready $dir"
cat >/dev/null
