#!/bin/bash
# Builds the containerd versions that Debian 12 does not have, from their sources through the Go module proxy, into
# target/containerd/. Each is a Go module of our own whose go.sum fixes every byte. Built once for each go.sum.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ]; then
    home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
    mkdir -p target && chown "$SUDO_USER:" target
    exec runuser -u "$SUDO_USER" -- env HOME="$home" PATH="/usr/local/go/bin:$home/go/bin:$PATH" "$0"
fi
export PATH=/usr/local/go/bin:$PATH
if ! type -P go >/dev/null; then
    echo "No Go toolchain: the stories on containerd 1.7 and 2 are left out (get one: https://go.dev/dl/)"
    exit 0
fi
for module in tests/containerd/*/; do
    out=target/containerd/$(basename "$module")
    key=$(cat "$module/go.sum" | sha256sum | cut -c1-16)
    if [ "$(cat "$out/key" 2>/dev/null)" = "$key" ]; then
        continue
    fi
    echo "building containerd of $module, once"
    rm -rf "$out"
    mkdir -p "$out"
    # The binaries are named after the tools' packages.
    (cd "$module" && CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -ldflags='-s -w' -o "../../../$out/" tool)
    echo "$key" >"$out/key"
done
