#!/bin/bash
# Settles the system that tests/vm/image.sh unpacked: name, mounts, the channel to the tests, containerd.
# usage: tests/vm/customize.sh ROOT
set -euo pipefail
root=$1
guest=$(dirname "$0")/guest

echo gantry-vm >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 gantry-vm\n::1 localhost\n' >"$root/etc/hosts"
echo 'nameserver 192.0.2.3' >"$root/etc/resolv.conf"
echo '/dev/vda / ext4 rw,noatime 0 1' >"$root/etc/fstab"
: >"$root/etc/machine-id"
chroot "$root" passwd -d root >/dev/null

install -D -m 755 "$guest/channel.sh" "$root/usr/local/lib/gantry-vm/channel.sh"
install -D -m 644 "$guest/gantry-vm-channel.service" -t "$root/etc/systemd/system"
install -D -m 644 "$guest/containerd.toml" "$root/etc/containerd/config.toml"
install -D -m 644 "$guest/shutdown.conf" -t "$root/etc/systemd/system.conf.d"
install -D -m 644 "$guest/20-wired.network" -t "$root/etc/systemd/network"
chroot "$root" systemctl --quiet enable gantry-vm-channel.service systemd-networkd.service
# Nothing here needs them, and under emulation each timer and generator costs the boot.
chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    fstrim.timer systemd-networkd-wait-online.service getty@tty1.service
# The story that needs the NFS server starts it.
chroot "$root" systemctl --quiet disable nfs-server.service rpcbind.service rpcbind.socket nfs-client.target
# Likewise the story that needs iscsid. The installation of the package makes a name for the initiator.
chroot "$root" systemctl --quiet disable open-iscsi.service iscsid.socket iscsid.service
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
