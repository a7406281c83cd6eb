#!/bin/bash
# Builds what a storm of faults needs, and lets it rage: on a node by itself (`node`), on one of a real control plane
# (`cluster`), or first on the one and then on the other. `vm` tells the stories that need a machine: its power fails, its
# clock jumps.
# usage: tests/setup/chaos.sh [node|cluster|vm]
# environment: SEED (repeats a run), FAULTS (how many, default 1000), ONLY (part of the name of a fault)
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ "$(id -u)" != 0 ]; then
    echo "A storm needs root: sudo make chaos" >&2
    exit 1
fi
if [ "${1:-}" = vm ]; then
    VM_STORIES=power exec tests/setup/test.sh vm
fi
tests/setup/packages.sh build run test chaos
# Without a Go toolchain containerd is not upgraded during the storm.
tests/containerd/build.sh
if [ "${1:-}" != node ]; then
    tests/control-plane/build.sh etcd kube-apiserver kube-controller-manager kube-scheduler kubeadm kubectl
fi
tests/setup/images.sh
tests/setup/cargo.sh build --locked --workspace
binary=$(tests/setup/test-binary.sh chaos)
mkdir -p target/node target/chaos
tests/setup/give-back.sh target/node target/chaos
code=0
"$binary" "$@" || code=$?
tests/setup/give-back.sh target/chaos
exit "$code"
