#!/bin/bash
# Makes the container images of the control plane that kubeadm installs and of flannel, from the programs that build.sh
# has built: an OCI archive for each below target/images/control-plane, under the names that kubeadm asks for. Nothing is
# done for what is there and whose programs are unchanged.
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

# kube-proxy and flanneld are static programs, and the firewall's tools that they run.
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

busybox() { # ROOT
    install -D "$(dpkg-query --listfiles busybox-static | grep -x '.*/bin/busybox')" "$1/bin/busybox"
}

# Sleeps until it is asked to end; signals without a handler do not reach a first process.
readonly PAUSE='"/bin/busybox","sh","-c","trap \"exit 0\" TERM INT; while :; do sleep 86400 & wait; done"'

# Beside flannel's daemon its CNI plugin, and what both are put in place on the node with.
flannel() { # ROOT
    firewall "$1"
    install -D "$bin/flanneld" "$1/opt/bin/flanneld"
    install -D "$bin/flannel" "$1/flannel"
    busybox "$1"
    ln -s busybox "$1/bin/cp"
}

firewall_version() { dpkg-query --show iptables libxtables12 nftables; }

# Of its own version: asked for no version it looks one up on the internet.
version=$("$bin/kubeadm" version --output=short)
{
    "$bin/kubeadm" config images list --kubernetes-version="$version"
    echo gantry.local/flannel:1
} | while read -r name; do
    program=${name##*/} program=${program%%:*}
    archive=$out/$program.tar
    sources=("$0" tests/setup/oci.sh)
    case $program in
        pause) ;;
        flannel) sources+=("$bin/flannel" "$bin/flanneld") ;;
        *) sources+=("$bin/$program") ;;
    esac
    key=$({
        echo "$name"
        cat "${sources[@]}"
        case $program in kube-proxy | flannel) firewall_version ;; esac
    } | sha256sum | cut -c1-64)
    oci_is_made "$archive" "$key" && continue
    oci_begin
    root=$oci_work/root
    mkdir -p "$root/etc" && mkdir -m 1777 "$root/tmp"
    env='"Env":["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]'
    case $program in
        pause) busybox "$root" && config="$env,\"Entrypoint\":[$PAUSE]" ;;
        coredns) install -D "$bin/coredns" "$root/coredns" && config="$env,\"Entrypoint\":[\"/coredns\"]" ;;
        flannel) flannel "$root" && config="$env,\"Cmd\":[\"/opt/bin/flanneld\"]" ;;
        kube-proxy) firewall "$root" ;&
        *) install -D "$bin/$program" "$root/usr/local/bin/$program" && config="$env,\"Cmd\":[\"$program\"]" ;;
    esac
    oci_layer "$root"
    oci_image "$name" "$config"
    oci_finish "$archive" "$key"
done
tests/setup/give-back.sh target/images
