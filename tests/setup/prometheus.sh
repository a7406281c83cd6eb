#!/bin/bash
# Unpacks Debian's Prometheus below target/: nothing is installed, and no service is started.
set -euo pipefail
cd "$(dirname "$0")/../.."

there=target/prometheus
[ ! -x "$there/usr/bin/prometheus" ] || exit 0
if ! type -P apt-get >/dev/null || ! type -P dpkg-deb >/dev/null; then
    echo "This is not Debian: put prometheus and promtool into $there/usr/bin." >&2
    exit 1
fi
mkdir -p "$there"
# As root apt reads as another user, who may not be allowed to write here; it says so, and goes on.
if ! (cd "$there" && apt-get --quiet=2 download prometheus); then
    apt-get --quiet=2 update
    (cd "$there" && apt-get --quiet=2 download prometheus)
fi
dpkg-deb --extract "$there"/prometheus_*.deb "$there"
rm -f "$there"/prometheus_*.deb
tests/setup/give-back.sh "$there"
