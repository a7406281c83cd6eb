#!/bin/bash
# Builds what a cluster of one node needs, then tells its stories, or (`serve`) keeps it for a person until Ctrl-C.
# usage: tests/setup/cluster.sh serve | skew | conformance | volumes [PART...] | [PART OF A STORY'S NAME...]
# `skew` joins the older control plane that KUBERNETES (v1.34) names; `conformance` runs Kubernetes' own specs, of which
# FOCUS and SKIP choose by regular expressions, PROCS at once; `volumes` tells the stories of CSI drivers alone.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ "$(id -u)" != 0 ]; then
    echo "A cluster needs root: sudo make cluster, or sudo make test-cluster" >&2
    exit 1
fi
tests/setup/packages.sh build run test
plane=(kube-apiserver kube-controller-manager kube-scheduler kubeadm kubectl)
if [ "${1:-}" = skew ]; then
    KUBERNETES= tests/control-plane/build.sh etcd
    tests/control-plane/build.sh "${plane[@]}"
elif [ "${1:-}" = serve ]; then
    tests/control-plane/build.sh etcd "${plane[@]}"
elif [ "${1:-}" = volumes ]; then
    tests/control-plane/build.sh etcd kubelet "${plane[@]}"
    tests/control-plane/build.sh csi
elif [ "${1:-}" = conformance ]; then
    tests/setup/packages.sh conformance
    tests/setup/preflight.sh cluster
    tests/control-plane/build.sh coredns etcd flannel flanneld kube-proxy "${plane[@]}"
    if [ "${AGENT:-}" = kubelet ]; then
        tests/control-plane/build.sh kubelet
    fi
    tests/control-plane/build.sh agnhost e2e.test ginkgo nonewprivs sample-apiserver
    tests/control-plane/images.sh
    tests/control-plane/conformance-images.sh
else
    tests/control-plane/build.sh
    tests/control-plane/build.sh csi
    tests/control-plane/images.sh
fi
tests/setup/images.sh
tests/setup/cargo.sh build --locked --workspace
binary=$(tests/setup/test-binary.sh cluster)
mkdir -p target/node
tests/setup/give-back.sh target/node
exec "$binary" "$@"
