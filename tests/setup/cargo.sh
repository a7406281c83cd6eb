#!/bin/bash
# Runs cargo as the person at the keyboard: under sudo that is SUDO_USER, whose toolchain it is and whose target/
# directory must not fill with root's files. (sudo resets PATH and HOME, so plain `cargo` would not even be found.)
# usage: tests/setup/cargo.sh ARGUMENT...
set -euo pipefail

user=$(id -un)
if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ]; then
    user=$SUDO_USER
fi
home=$(getent passwd "$user" | cut -d: -f6)
path=$home/.cargo/bin:/usr/local/go/bin:$PATH
if ! PATH=$path type -P cargo >/dev/null; then
    cat >&2 <<MESSAGE
No Rust toolchain found for $user (looked in $home/.cargo/bin and PATH).
Get one as $user:  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh
MESSAGE
    exit 1
fi
if [ "$user" = "$(id -un)" ]; then
    PATH=$path exec cargo "$@"
fi
if [ -d target ] && ! runuser -u "$user" -- test -w target; then
    echo "target/ belongs to root from an earlier build. Give it back: chown -R $user: target" >&2
    exit 1
fi
exec runuser -u "$user" -- env HOME="$home" PATH="$path" cargo "$@"
