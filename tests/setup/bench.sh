#!/bin/bash
# Measures the release build: by itself beside containerd alone (`agent`), its plugins beside the Go plugins that Debian
# ships and the bare netlink requests (`plugins`), and as a node of a real control plane beside the kubelet: pods (`cluster`), and what it costs to be asked for numbers and
# streams (`serving`), to pass much (`bulk`), or to mount volumes of CSI drivers (`volumes`); each comparison in one sitting; what watchers of a machine without a
# cluster cost while nothing changes (`watching`; WATCH_SECONDS=3600 for an hour); how soon a pod that takes too much memory has
# to leave (`pressure`); and how soon the nodes of a file of peers
# are reached (`overlay`).
# usage: tests/setup/bench.sh [PART...]   (agent, plugins, cluster, serving, bulk, volumes, watching, pressure, overlay; default all)
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ "$(id -u)" != 0 ]; then
    echo "Measuring needs root: sudo make bench" >&2
    exit 1
fi
tests/setup/packages.sh build run test bench
tests/control-plane/build.sh etcd kube-apiserver kube-controller-manager kube-scheduler kubeadm kubelet kubectl csi-attacher csi-driver
tests/setup/images.sh
tests/setup/kubectl.sh
tests/setup/cargo.sh build --release --locked --workspace

plugins=$(tests/setup/go-plugins.sh)
parts=("$@")
# The plugins need no containerd: their benchmark is one of their own package.
if [ $# = 0 ] || [[ " $* " == *" plugins "* ]]; then
    CNI_PATH_BESIDE=$plugins tests/setup/cargo.sh bench --locked --package gantry-cni
    parts=("${parts[@]/#plugins/}")
    if [ $# = 1 ]; then
        exit 0
    fi
fi
binary=$(tests/setup/test-binary.sh bench)
mkdir -p target/node
code=0
GANTRY_PROGRAMS=${GANTRY_PROGRAMS:-$PWD/target/release} GO_PLUGINS=$plugins "$binary" "${parts[@]}" || code=$?
tests/setup/give-back.sh target/bench target/node
exit "$code"
