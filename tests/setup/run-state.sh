# What `make run` made and where, read by run.sh and clean-node.sh so that both mean the same.

# Beside target/ rather than in /run: a reboot must not make clean-node forget what there is to remove.
state=$(realpath -m "${GANTRY_RUN_STATE:-target/run}")
programs=${GANTRY_PROGRAMS:-target/quick}
gantry=$programs/gantry
socket=/run/containerd/containerd.sock
# Directories that a node makes. Those that were not there at the first run go with clean-node.
node_directories=(/etc/cni /etc/cni/net.d /opt/cni /opt/cni/bin /run/containerd /run/gantry /run/netns /var/lib/cni
    /var/lib/cni/networks /var/lib/cni/results /var/lib/gantry /var/lib/kubelet /var/log/containers /var/log/pods)

# Whether containerd's CRI answers on its socket.
containerd_answers() {
    [ -S "$socket" ] && timeout 5 ctr --address "$socket" version >/dev/null 2>&1
}

# Runs a condition until it holds. wait_until SECONDS COMMAND...
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.1
    done
}
