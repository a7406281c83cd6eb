#!/bin/bash
# Runs the pods of static-pods/ on this machine: containerd where none answers, plugins, the demo image, the agent.
# Ctrl-C ends the agent and leaves the pods; the next run adopts them; clean-node.sh removes everything.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/setup/run-state.sh

# A shell in the background begins with Ctrl-C's signal ignored, and no shell can undo that for itself.
if [ -z "${GANTRY_RUN_SIGNALS:-}" ]; then
    GANTRY_RUN_SIGNALS=default exec env --default-signal=INT tests/setup/run.sh
fi

if [ "$(id -u)" != 0 ]; then
    echo "A node agent needs root: sudo make run" >&2
    exit 1
fi
mkdir -p "$state"
# Only the first run sees the machine without a node; clean-node puts that back.
if [ ! -e "$state/absent-before" ]; then
    for directory in "${node_directories[@]}"; do
        [ -e "$directory" ] || echo "$directory"
    done >"$state/absent-before"
fi

# Writes the configuration of a containerd of our own: its data lies with ours, its socket where everybody looks.
write_containerd_config() {
    # Without CAP_SYS_RESOURCE (in a container, say) no process may lower its oom_score_adj, and no sandbox starts.
    local restrict=false
    if (($(printf '%d' "0x$(awk '/^CapEff:/ { print $2 }' /proc/self/status)") >> 24 & 1 ^ 1)); then
        restrict=true
    fi
    cat >"$state/containerd.toml" <<TOML
version = 2
root = "$state/containerd"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = $restrict
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "$state/cni-bin"
  conf_dir = "/etc/cni/net.d"
TOML
}

cni_bin=/opt/cni/bin
if [ -e "$state/containerd.toml" ]; then
    cni_bin=$state/cni-bin
fi
if ! containerd_answers; then
    if [ -d /run/systemd/system ]; then
        echo "starting containerd (systemctl start containerd)"
        systemctl start containerd
        touch "$state/containerd-by-systemctl"
    else
        echo "starting containerd (no systemd here: a process of its own, log in $state/containerd.log)"
        cni_bin=$state/cni-bin
        write_containerd_config
        setsid containerd --config "$state/containerd.toml" >>"$state/containerd.log" 2>&1 </dev/null &
        echo $! >"$state/containerd.pid"
    fi
    if ! wait_until 20 containerd_answers; then
        echo "containerd does not answer on $socket after 20 s" >&2
        exit 1
    fi
fi

# containerd runs the plugins of its own directory; ours go where none are.
mkdir -p "$cni_bin"
for plugin in loopback bridge host-local portmap flannel bandwidth firewall; do
    if [ ! -e "$cni_bin/$plugin" ]; then
        install -m 755 "$programs/gantry-cni" "$cni_bin/$plugin"
        echo "$cni_bin/$plugin" >>"$state/made"
    fi
done
tests/setup/images.sh "$state/images/demo.tar"

if [ -S /run/gantry/gantry.sock ] && "$gantry" get node >/dev/null 2>&1; then
    echo "An agent runs already: \`gantry get pods\` asks it. Stop it before \`make run\`." >&2
    exit 1
fi
read -ra flags <<<"${GANTRY_RUN_FLAGS:-}"
started=$(date +%s%N)
"$gantry" run --pod-manifest-path="$PWD/static-pods" --images-dir="$state/images" --cni-bin-dir="$cni_bin" \
    "${flags[@]}" >>"$state/agent.log" 2>&1 </dev/null &
agent=$!
echo "$agent" >"$state/agent.pid"
trap 'kill -TERM $agent 2>/dev/null' INT TERM HUP

# Every pod ready, or the agent gone.
ready_or_gone() {
    kill -0 "$agent" 2>/dev/null || return 0
    local table
    table=$("$gantry" get pods 2>/dev/null) || return 1
    # READY is n/n in every row, and there are as many rows as manifests.
    awk -v manifests="$(find static-pods -name '*.yaml' | wc -l)" '
        NR > 1 { rows++; split($2, part, "/"); if (part[1] != part[2]) waiting++ }
        END { exit !(rows >= manifests && !waiting) }' <<<"$table"
}
if ! wait_until 20 ready_or_gone; then
    echo "After 20 s not every pod is ready; \`gantry describe pod NAME\` says why." >&2
fi
if ! kill -0 "$agent" 2>/dev/null; then
    tail -n 20 "$state/agent.log" >&2
    exit 1
fi

echo
echo "After $((($(date +%s%N) - started) / 1000000)) ms:"
"$gantry" get pods -o wide
echo
# The sections that say how the node is.
"$gantry" describe node | awk '/^[A-Z]/ { wanted = /^(Conditions|Capacity):/ } wanted'
web=$("$gantry" get pods -o wide | awk '$1 ~ /^web-/ { for (i = 2; i <= NF; i++) if ($i ~ /^[0-9]+\.[0-9.]+$/) print $i }')
cat <<MESSAGE

Try:
  curl http://$web:8080/
  $gantry logs web-$(hostname | tr '[:upper:]' '[:lower:]')

The agent's log is $state/agent.log. Ctrl-C stops the agent and leaves the pods running; \`make clean-node\`
removes everything.
MESSAGE
# The first wait ends with the signal, the second with the agent.
wait "$agent" || true
wait "$agent" 2>/dev/null || true
rm -f "$state/agent.pid"
echo "The agent has stopped. The pods run on."
