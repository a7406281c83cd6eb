#!/bin/bash
# Says before the tests of the named tiers start what they cannot bear on this machine, and what to do about it.
# usage: tests/setup/preflight.sh TIER...
set -euo pipefail
cd "$(dirname "$0")/../.."

problems=()
notes=()

# The tiers that make machines of their own.
isolated=
for tier in "$@"; do
    case $tier in
        node | cluster | vm | skew) isolated=yes ;;
    esac
done
[ -n "$isolated" ] && [ "$(id -u)" = 0 ] || exit 0

if ! unshare --mount --net --pid --ipc --uts --fork true 2>/dev/null; then
    problems+=("namespaces cannot be made here (unshare fails): run the tests on a machine, or in a container that may")
fi
scratch=$(mktemp -d "$(mkdir -p target && realpath target)/preflight.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch"/{lower,upper,work,all}
if ! unshare --mount mount -t overlay \
    -o "lowerdir=$scratch/lower,upperdir=$scratch/upper,workdir=$scratch/work" overlay "$scratch/all" 2>/dev/null; then
    problems+=("$(realpath target) lies on a file system that overlayfs cannot write to: clone to a disk with ext4 or xfs")
fi
own=
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/memory; do
    if mkdir "$hierarchy/gantry-test-preflight-$$" 2>/dev/null; then
        rmdir "$hierarchy/gantry-test-preflight-$$"
        own=yes
    fi
done
if [ -z "$own" ]; then
    problems+=("cgroups cannot be made below /sys/fs/cgroup: mount it writable")
fi
free_gib=$(($(df --output=avail -k target | tail -n 1) / 1024 / 1024))
if [ "$free_gib" -lt 10 ]; then
    problems+=("$free_gib GiB are free below target/: the tests need 10 GiB beside what they build")
fi
memory_gib=$(($(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo) / 1024 / 1024))
if [ "$memory_gib" -lt 4 ]; then
    problems+=("$memory_gib GiB of memory are available: the tests need 4 GiB")
fi

# The tests look at links, mounts and firewall rules before and after, and cannot know whose they are.
for comm in /proc/[0-9]*/comm; do
    read -r name 2>/dev/null <"$comm" || continue
    case $name in
        kubelet | gantry | dockerd)
            pid=${comm#/proc/}
            notes+=("$name runs here (process ${pid%/comm}): what it starts or ends during the tests is taken for something that they left")
            ;;
    esac
done

for note in "${notes[@]}"; do
    echo "note: $note"
done
for problem in "${problems[@]}"; do
    echo "cannot run here: $problem" >&2
done
[ ${#problems[@]} = 0 ]
