#!/usr/bin/env bash
# postgres.sh: have a PostgreSQL (15 or newer) and a PgBouncer for the tests, from
# Debian's packages if need be. The tests start their own; no service is started.
set -euo pipefail
want=()
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || want+=(postgresql)
PATH=$PATH:/usr/sbin command -v pgbouncer >/dev/null || want+=(pgbouncer)
[ ${#want[@]} = 0 ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "missing: install the packages ${want[*]}" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# Debian makes and starts a cluster, and PgBouncer, when it installs them: we want neither.
install -d /etc/postgresql-common/createcluster.d
echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/wicketgate.conf
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod +x $policy
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${want[@]}" >/dev/null
