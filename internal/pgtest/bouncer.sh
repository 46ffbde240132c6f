#!/bin/sh
# bouncer.sh PGBOUNCER FOLDER: a PgBouncer that pools transactions in front of the
# server in FOLDER, until stdin ends. It says "ready" once it listens.
set -eu
trap '' HUP INT TERM PIPE # stdin alone decides
cd "$2"
cat >bouncer.ini <<INI
[databases]
* = host=$2 port=5432 user=postgres
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = $2
auth_type = any
pool_mode = transaction
default_pool_size = 8
max_client_conn = 500
logfile = $2/bouncer.log
INI
(trap - TERM; exec "$1" -q bouncer.ini) &
pid=$!
trap 'kill "$pid" 2>/dev/null || :' EXIT
while ! [ -S .s.PGSQL.6432 ]; do
  kill -0 "$pid" || { cat bouncer.log >&2; exit 1; }
  sleep 0.02
done
echo ready
cat >/dev/null
