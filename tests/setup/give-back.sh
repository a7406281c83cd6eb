#!/bin/bash
# Under sudo, gives files made in target/ to the person who called, so that `cargo clean` works without root.
# usage: tests/setup/give-back.sh PATH...
set -euo pipefail
if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ]; then
    chown -R "$SUDO_USER:" "$@"
    chown "$SUDO_USER:" target
fi
