#!/bin/bash
# Makes three releases of kubectl available in target/kubectl/: those of Debian 12 and 13, from Debian's own packages, which are
# unpacked and not installed, and the one of the control plane that the tests build. Nothing is done for what is there.
# usage: tests/setup/kubectl.sh
# environment: DEBIAN_MIRROR
set -euo pipefail
cd "$(dirname "$0")/../.."

out=target/kubectl
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mkdir -p "$out"

# debian RELEASE SUITE PACKAGE : fetches the package with lists and a cache of its own; apt checks signatures and sums.
debian() {
    local program=$out/debian-$1 dir
    [ -x "$program" ] && return
    if [ ! -e "$keyring" ]; then
        echo "kubectl.sh: $keyring is missing, with which Debian's packages are verified: apt-get install debian-archive-keyring" >&2
        return 1
    fi
    echo "kubectl: fetching the one of Debian $1, once"
    dir=$(mktemp -d)
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/etc/preferences.d" "$dir/package"
    echo "deb [signed-by=$keyring] $mirror $2 main" >"$dir/sources.list"
    local apt=(apt-get --quiet=2 -o "Dir::Etc=$dir/etc" -o "Dir::Etc::SourceList=$dir/sources.list"
        -o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir/cache" -o Dir::State::status=/dev/null
        -o APT::Sandbox::User=root -o 'Acquire::Languages=none' -o "APT::Architecture=$(dpkg --print-architecture)")
    "${apt[@]}" update </dev/null && (cd "$dir/package" && "${apt[@]}" download "$3" </dev/null) &&
        dpkg-deb --extract "$dir"/package/"$3"_*.deb "$dir/root" &&
        install -m 755 "$dir/root/usr/bin/kubectl" "$program" || { rm -rf "$dir"; return 1; }
    rm -rf "$dir"
}

debian 12 bookworm kubernetes-client
debian 13 trixie kubectl
tests/control-plane/build.sh kubectl
ln -sf ../control-plane/bin/kubectl "$out/own"
tests/setup/give-back.sh "$out"
