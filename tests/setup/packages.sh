#!/bin/bash
# Installs, from Debian 12 or 13, what the named purposes need and the machine lacks, and says what and why.
# A tool that is there already, from wherever, is left alone.
# usage: tests/setup/packages.sh PURPOSE...   (build, run, net, test, vm, chaos, conformance, bench)
set -euo pipefail

# purpose | the file or command that shows that it is there | package | why
table='
build | cc                      | gcc               | links the programs
build | /usr/include/stdio.h    | libc6-dev         | links the programs
build | protoc                  | protobuf-compiler | compiles the runtime interface of containerd
run   | containerd              | containerd        | runs the containers
run   | runc                    | runc              | starts each container
run   | dpkg:busybox-static     | busybox-static    | is the content of the demo image
run   | nft                     | nftables          | opens host ports
run   | ip                      | iproute2          | shows links and routes
net   | tc                      | iproute2          | shows queues
net   | iptables                | iptables          | makes a FORWARD chain that drops, as other programs do
net   | strace                  | strace            | kills a plugin at each of its system calls
run   | curl                    | curl              | asks the demo pod for its page
test  | iptables-save           | iptables          | compares the firewall before and after
test  | docker-registry         | docker-registry   | is the registry that images are pulled from
test  | python3                | python3           | compares pods with the recordings of the kubelet
test  | crun                    | crun              | is the second runtime that the tests use
vm    | qemu-system-x86_64      | qemu-system-x86   | emulates the machine
vm    | mmdebstrap              | mmdebstrap        | makes the Debian system for the machine
vm    | mke2fs                  | e2fsprogs         | makes the disk of the machine
conformance | mmdebstrap        | mmdebstrap        | makes the Debian system of the images
chaos | mke2fs                  | e2fsprogs         | makes the disk that a storm fills
bench | dpkg-deb                | dpkg              | unpacks the plugins to compare with
'

present() {
    case $1 in
        dpkg:*) dpkg-query --show --showformat='${db:Status-Status}' "${1#dpkg:}" 2>/dev/null | grep -qx installed ;;
        /*) [ -e "$1" ] ;;
        *) PATH="$PATH:/usr/sbin:/sbin" type -P "$1" >/dev/null ;;
    esac
}

missing=()
report=()
while IFS='|' read -r purpose shows package why; do
    purpose=${purpose// /} shows=${shows// /} package=${package// /}
    [[ -n $purpose && " $* " == *" $purpose "* ]] || continue
    present "$shows" && continue
    missing+=("$package")
    report+=("  $package:$why")
done <<<"$table"
[ ${#missing[@]} -gt 0 ] || exit 0

echo "Missing on this machine:"
printf '%s\n' "${report[@]}"
if [ "$(id -u)" != 0 ]; then
    echo "Install them as root: sudo apt-get install ${missing[*]}" >&2
    exit 1
fi
if ! type -P apt-get >/dev/null; then
    echo "This is not Debian: install them by your system's own means, under whatever names they have there." >&2
    exit 1
fi
echo "Installing: apt-get install ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
install_them() {
    apt-get install --yes --quiet=2 --no-install-recommends "${missing[@]}" </dev/null
}
# Lists that are too old name packages that are gone: then, and only then, they are fetched anew.
if ! apt-get install --simulate --quiet=2 "${missing[@]}" >/dev/null 2>&1 || ! install_them; then
    apt-get update --quiet=2 </dev/null
    install_them
fi
# Debian starts what it installs; this one is started by the tests alone, in namespaces of their own.
if [[ " ${missing[*]} " == *" docker-registry "* ]] && [ -d /run/systemd/system ]; then
    systemctl disable --quiet --now docker-registry
fi
