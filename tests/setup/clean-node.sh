#!/bin/bash
# Removes everything that `make run` made: the agent, its pods and network, containerd where it was ours, files.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/setup/run-state.sh

if [ "$(id -u)" != 0 ]; then
    echo "Cleaning the node needs root: sudo make clean-node" >&2
    exit 1
fi
if [ ! -d "$state" ]; then
    echo "Nothing to clean: \`make run\` has made nothing here."
    exit 0
fi

gone() {
    ! kill -0 "$1" 2>/dev/null
}
# Ends the process of a pid file, if it is still the program that we started. end NAME FILE
end() {
    local pid
    pid=$(cat "$2" 2>/dev/null) || return 0
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ]; then
        kill -TERM "$pid"
        wait_until 20 gone "$pid" || kill -KILL "$pid"
    fi
    rm -f "$2"
}

end gantry "$state/agent.pid"
read -ra flags <<<"${GANTRY_RUN_FLAGS:-}"
"$gantry" cleanup --yes "${flags[@]}"
if [ -e "$state/containerd-by-systemctl" ]; then
    systemctl stop containerd
fi
end containerd "$state/containerd.pid"

while read -r file; do
    rm -f "$file"
done <<<"$(cat "$state/made" 2>/dev/null)"
# What lies in containerd's runtime directory is containerd's own, and it is stopped.
if [ -e "$state/containerd.toml" ] && grep -qx /run/containerd "$state/absent-before"; then
    rm -rf /run/containerd
fi
# The inner ones first; what holds something of somebody else's stays.
sort -r "$state/absent-before" | while read -r directory; do
    if [ -d "$directory" ]; then
        mountpoint -q "$directory" && umount "$directory"
        rmdir --ignore-fail-on-non-empty "$directory"
    fi
done
rm -rf "$state"
echo "The machine is as it was before the first \`make run\`."
