#!/usr/bin/env bash
# chromium.sh: have some Chromium for the browser test, from Debian's packages if need be.
set -euo pipefail
for name in chromium-headless-shell chromium google-chrome; do
  command -v "$name" >/dev/null && exit 0
done
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "chromium is missing: install the package chromium-headless-shell or chromium" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends chromium-headless-shell fonts-dejavu-core >/dev/null
