#!/bin/bash
# Makes the container images of the control plane that kubeadm installs, from the programs that build.sh has built: an
# OCI archive for each below target/images/control-plane, under the names that kubeadm asks for. Nothing is done for what
# is there and whose program is unchanged.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/setup/oci.sh

bin=${CARGO_TARGET_DIR:-target}/control-plane/bin
out=target/images/control-plane

# Copies a program of Debian's into the image, with the libraries that it is linked to.
debian_program() { # ROOT PATH
    local library
    install -D "$2" "$1$2"
    ldd "$2" | grep -o '/[^ ]*' | while read -r library; do
        install -D "$library" "$1$library"
    done
}

# kube-proxy is one static program, and the firewall's tools that it runs.
firewall() { # ROOT
    local name extension
    debian_program "$1" /usr/sbin/xtables-nft-multi
    debian_program "$1" /usr/sbin/nft
    for name in {ip,ip6}tables{,-save,-restore}; do
        ln -s xtables-nft-multi "$1/usr/sbin/$name"
    done
    dpkg-query --listfiles iptables libxtables12 | grep '/xtables/.*\.so$' | while read -r extension; do
        debian_program "$1" "$extension"
    done
}

# Sleeps until it is asked to end; signals without a handler do not reach a first process.
pause() { # ROOT
    install -D "$(dpkg-query --listfiles busybox-static | grep -x '.*/bin/busybox')" "$1/bin/busybox"
}
readonly PAUSE='"/bin/busybox","sh","-c","trap \"exit 0\" TERM INT; while :; do sleep 86400 & wait; done"'

firewall_version() { dpkg-query --show iptables libxtables12 nftables; }

# Of its own version: asked for no version it looks one up on the internet.
version=$("$bin/kubeadm" version --output=short)
"$bin/kubeadm" config images list --kubernetes-version="$version" | while read -r name; do
    program=${name##*/} program=${program%%:*}
    archive=$out/$program.tar
    sources=("$0" tests/setup/oci.sh)
    [ "$program" = pause ] || sources+=("$bin/$program")
    key=$({ echo "$name"; cat "${sources[@]}"; [ "$program" != kube-proxy ] || firewall_version; } | sha256sum | cut -c1-64)
    oci_is_made "$archive" "$key" && continue
    oci_begin
    root=$oci_work/root
    mkdir -p "$root/etc" && mkdir -m 1777 "$root/tmp"
    env='"Env":["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]'
    case $program in
        pause) pause "$root" && config="$env,\"Entrypoint\":[$PAUSE]" ;;
        coredns) install -D "$bin/coredns" "$root/coredns" && config="$env,\"Entrypoint\":[\"/coredns\"]" ;;
        kube-proxy) firewall "$root" ;&
        *) install -D "$bin/$program" "$root/usr/local/bin/$program" && config="$env,\"Cmd\":[\"$program\"]" ;;
    esac
    oci_layer "$root"
    oci_image "$name" "$config"
    oci_finish "$archive" "$key"
done
tests/setup/give-back.sh target/images
