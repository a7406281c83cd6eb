#!/bin/bash
# Runs a command as on a machine of its own: own network (with a neighbour), processes, mounts, host name, and empty
# private copies of the directories that a node writes to. Whatever the command does, and however it ends, nothing of
# it stays but the cgroups it made and what lies in DIR.
# usage: tests/support/isolate.sh DIR COMMAND...   (DIR on a disk that overlayfs can use)
# environment: BESIDE=NAME=ADDRESS, called inside: another machine of that name, with this one's neighbour and processes
set -euo pipefail

# What a shell in the background, or nohup, makes its children ignore is part of no machine; nor is the caller's cluster.
if [ "${1:-}" != --inside ]; then
    unset KUBECONFIG
    reset=(env --default-signal=INT,QUIT,HUP,PIPE,TERM)
fi
name=node-1
address=192.0.2.10
if [ -n "${BESIDE:-}" ]; then
    name=${BESIDE%=*}
    address=${BESIDE#*=}
fi
if [ "${1:-}" != --inside ]; then
    if [ -n "${BESIDE:-}" ]; then
        # The way to the neighbour, which no path leads to any more once /run is another.
        exec 3</run/netns/outside
        exec "${reset[@]}" unshare --mount --net --ipc --uts -- "$0" --inside "$@"
    fi
    exec "${reset[@]}" unshare --mount --net --pid --ipc --uts --fork --kill-child --mount-proc -- "$0" --inside "$@"
fi
shift
dir=$1
shift

# What somebody else has mounted for pods (network namespaces too) is none of this machine's. Whatever another mount
# hides has no path any more, and disturbs nobody.
sed -nE 's#^[^ ]+ (/(var/lib/kubelet|run)/[^ ]+) .*#\1#p' /proc/self/mounts | tac | while read -r mounted; do
    umount --lazy "$mounted" 2>/dev/null || true
done
mount -t tmpfs -o mode=755 run /run
mkdir /run/node /run/lock
mount --bind "$dir" /run/node

# The machine's own directories stay visible, and what is written to them lands in DIR.
for parent in /etc /opt /var/lib /var/log; do
    layers=/run/node/layers$parent
    mkdir -p "$layers/upper" "$layers/work"
    mount -t overlay -o "lowerdir=$parent,upperdir=$layers/upper,workdir=$layers/work" overlay "$parent"
done
# A node's directories begin empty, as on a new machine. containerd's needs a real disk below it in any case.
hide() {
    mkdir -p "$1" "/run/node/hidden$1"
    mount --bind "/run/node/hidden$1" "$1"
}
hide /var/lib/containerd
for path in /etc/cni /etc/kubernetes /opt/cni /var/lib/kubelet /var/lib/gantry /var/lib/cni /var/log/pods \
    /var/log/containers; do
    if [ -e "$path" ]; then
        hide "$path"
    fi
done
echo 'nameserver 192.0.2.1' >/run/node/resolv.conf
rm -f /etc/resolv.conf
mv /run/node/resolv.conf /etc/resolv.conf

# Settings of the whole kernel that an agent makes at its start: it makes them in files of its own.
if [ -z "${BESIDE:-}" ]; then
    for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys \
        kernel/keys/root_maxbytes; do
        mkdir -p "/run/node/kernel/${setting%/*}"
        cat "/proc/sys/$setting" >"/run/node/kernel/$setting"
        mount --bind "/run/node/kernel/$setting" "/proc/sys/$setting"
    done
fi

# /sys shows the links of the network namespace that mounted it; the cgroups are carried over.
mkdir /run/cgroup
mount --rbind /sys/fs/cgroup /run/cgroup
mount -t sysfs sysfs /sys
mount --rbind /run/cgroup /sys/fs/cgroup
umount --lazy /run/cgroup
rmdir /run/cgroup
# Beside cgroup v1 the unified hierarchy may have a controller or two, which crun refuses to run with. (What lies below
# this /sys is in the kernel's table of mounts still, so that table does not tell.)
umount /sys/fs/cgroup/unified 2>/dev/null || true

# The node's uplink leads to one neighbour, which stands for the rest of the world, and whose switch the nodes share.
hostname "$name"
# A namespace begins with the machine's own IPv4 settings, and kube-proxy may have changed this one there.
echo 0 | tee /proc/sys/net/ipv4/conf/all/route_localnet >/proc/sys/net/ipv4/conf/default/route_localnet
# No waiting for duplicates of IPv6 addresses: what is compared later is settled from the start.
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
ip link set lo up
if [ -z "${BESIDE:-}" ]; then
    ip netns add outside
    exec 3</run/netns/outside
fi
outside=/proc/self/fd/3
if [ -z "${BESIDE:-}" ]; then
    nsenter --net="$outside" ip link set lo up
    nsenter --net="$outside" ip link add lan type bridge
    nsenter --net="$outside" ip address add 192.0.2.1/24 dev lan
    nsenter --net="$outside" ip link set lan up
fi
ip link add eth0 type veth peer name "$name" netns "$outside"
nsenter --net="$outside" ip link set "$name" up master lan
ip address add "$address/24" dev eth0
ip link set eth0 up
ip route add default via 192.0.2.1
exec 3<&-

# As systemd has it on nearly every machine: without it no container can have mounts that follow the node's. What is
# mounted here still reaches nobody outside.
mount --make-rshared /

# Not exec: this shell is process 1 here and reaps whatever is orphaned.
code=0
"$@" || code=$?
exit "$code"
