#!/bin/bash
# Makes the disk that the VM boots from: the system of tests/vm/image.sh and what `make install` installs.
# Beside it the program that VLAN_STORIES names, the plugins' stories about VLANs.
# With `fresh` no pod is there and the service is not enabled: a machine that is to join a cluster.
# usage: tests/vm/disk.sh 12|13 FILE [fresh]
set -euo pipefail
cd "$(dirname "$0")/../.."

release=$1
disk=$2
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
tar -C "$root" -xf "target/vm/$release/root.tar"
make --no-print-directory install DESTDIR="$root"

# Pods and images as a person would put them there.
install -D -m 644 target/images/demo.tar -t "$root/var/lib/gantry/images"
if [ "${3:-}" != fresh ]; then
    install -m 644 static-pods/*.yaml tests/vm/pods/{burn,hungry}.yaml -t "$root/etc/kubernetes/manifests"
    # For stories that begin with nothing.
    install -m 644 target/images/demo.tar tests/vm/pods/{bomb,store,farewell,shared,block}.yaml -t "$root/root"
    chroot "$root" systemctl --quiet enable gantry
    install -m 755 "$VLAN_STORIES" "$root/root/vlan-stories"
fi

rm -f "$disk"
mke2fs -q -t ext4 -F -E lazy_itable_init=1 -d "$root" "$disk" 3G
