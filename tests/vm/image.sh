#!/bin/bash
# Makes the Debian system that the VM tier boots: kernel, initrd and an archive of the whole system, all from
# Debian's packages. Kept in target/vm/<release>/ and made anew only when the files beside this one change.
# The agent is not part of it: tests/vm/disk.sh adds what `make install` installs.
# usage: tests/vm/image.sh 12|13
set -euo pipefail
cd "$(dirname "$0")/../.."

release=${1:-12}
case $release in
    12) suite=bookworm ;;
    13) suite=trixie ;;
    *) echo "tests/vm/image.sh: no such Debian release: $release (12 or 13)" >&2; exit 2 ;;
esac
out=target/vm/$release
key=$(cat tests/vm/image.sh tests/vm/customize.sh tests/vm/guest/* | sha256sum | cut -c1-16)
if [ "$(cat "$out/key" 2>/dev/null)" = "$key" ]; then
    exit 0
fi

# The cloud kernel is small and has all that a node needs (overlay, nftables, veth, bridge, vxlan).
packages=systemd-sysv,dbus,udev,kmod,procps,iproute2,nftables,ca-certificates,curl,tar
packages+=,linux-image-cloud-amd64,containerd,runc,busybox-static
# A server and a client of NFS, for the story of its volumes: a kernel in a namespace of the build machine may have neither.
packages+=,nfs-kernel-server,nfs-common
# An initiator of iSCSI, for the story of its volumes. The target is the kernel's.
packages+=,open-iscsi
echo "VM: making a Debian $release ($suite) system from packages, once"
rm -rf "$out"
mkdir -p "$out"
# MODULES=list: an initrd of 8 MB instead of 30 unpacks in a third of the time under emulation.
mmdebstrap --quiet --mode=root --variant=minbase --include="$packages" \
    --aptopt='Acquire::Languages "none"' --aptopt='Apt::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"' \
    --essential-hook='echo MODULES=list >"$1/etc/initramfs-tools/conf.d/modules"' \
    --essential-hook='printf "%s\n" virtio_pci virtio_blk ext4 crc32c_generic >"$1/etc/initramfs-tools/modules"' \
    --customize-hook='tests/vm/customize.sh "$1"' \
    --customize-hook="cp --dereference \"\$1/vmlinuz\" $out/kernel" \
    --customize-hook="cp --dereference \"\$1/initrd.img\" $out/initrd" \
    --customize-hook='rm -r "$1"/boot/*' \
    "$suite" "$out/root.tar" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" </dev/null
echo "$key" >"$out/key"
tests/setup/give-back.sh target/vm
