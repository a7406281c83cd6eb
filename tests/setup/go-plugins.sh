#!/bin/bash
# Unpacks Debian's CNI plugins below target/ and prints where they are: nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/../.."

there=target/go-plugins
if [ ! -x "$there/usr/lib/cni/bridge" ]; then
    if ! type -P apt-get >/dev/null || ! type -P dpkg-deb >/dev/null; then
        echo "This is not Debian: put the plugins of containernetworking into $there/usr/lib/cni." >&2
        exit 1
    fi
    mkdir -p "$there"
    # As root apt reads as another user, who may not be allowed to write here; it says so, and goes on.
    if ! (cd "$there" && apt-get --quiet=2 download containernetworking-plugins >&2); then
        apt-get --quiet=2 update >&2
        (cd "$there" && apt-get --quiet=2 download containernetworking-plugins >&2)
    fi
    dpkg-deb --extract "$there"/containernetworking-plugins_*.deb "$there"
    rm -f "$there"/containernetworking-plugins_*.deb
    tests/setup/give-back.sh "$there"
fi
echo "$PWD/$there/usr/lib/cni"
