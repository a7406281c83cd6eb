#!/bin/bash
# Measures the release build beside containerd alone and beside the Go plugins that Debian ships, in one run.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ "$(id -u)" != 0 ]; then
    echo "Measuring needs root: sudo make bench" >&2
    exit 1
fi
tests/setup/packages.sh build run bench
tests/setup/images.sh
tests/setup/cargo.sh build --release --locked --workspace

plugins=target/bench/go-plugins
if [ ! -d "$plugins/usr/lib/cni" ]; then
    mkdir -p "$plugins"
    # Into a directory of ours, not installed: /opt/cni/bin and /usr/lib/cni stay as they are.
    if ! (cd "$plugins" && apt-get --quiet=2 download containernetworking-plugins); then
        apt-get --quiet=2 update
        (cd "$plugins" && apt-get --quiet=2 download containernetworking-plugins)
    fi
    dpkg-deb --extract "$plugins"/*.deb "$plugins"
fi
binary=$(tests/setup/cargo.sh test --locked --no-run --test bench 2>&1 | tee /dev/stderr |
    sed -nE 's/.*Executable tests\/.*\((.*)\)/\1/p')
mkdir -p target/node
GANTRY_PROGRAMS=$PWD/target/release GO_PLUGINS=$PWD/$plugins/usr/lib/cni "$binary"
tests/setup/give-back.sh target/bench target/node
