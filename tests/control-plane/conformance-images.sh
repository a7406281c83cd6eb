#!/bin/bash
# Makes the container images of Kubernetes' conformance specs, from the programs that build.sh has built and from Debian's
# packages, under the names that the specs ask for: one OCI archive, target/images/conformance.tar. Nothing is done for what
# is there and was made from the same.
# environment: DEBIAN_MIRROR
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/setup/oci.sh
. tests/setup/busybox.sh

bin=${CARGO_TARGET_DIR:-target}/control-plane/bin
archive=target/images/conformance.tar
# Where the sources of Kubernetes lie, for the few files that the images have beside programs.
sources=$(cd tests/control-plane/kubernetes && "$(PATH=/usr/local/go/bin:$PATH type -P go)" list -m -f '{{.Dir}}' k8s.io/kubernetes)/test/images
programs=("$bin"/{agnhost,nonewprivs,sample-apiserver})
key=$(cat "$0" tests/setup/{oci,busybox}.sh "${programs[@]}" | sha256sum | cut -c1-64)
oci_is_made "$archive" "$key" && exit 0

# What the specs run beside agnhost, by name: dig, curl, nc, ss, wget, nginx.
packages=bash-static,bind9-dnsutils,curl,iproute2,iputils-ping,netcat-openbsd,nginx-light,procps,wget
names=$("$bin/e2e.test" --list-images)

# Adds the last layer under every name that the specs have for an image; what a private registry has is none of ours.
images() { # REPOSITORY CONFIG
    local name
    while read -r name; do
        oci_image "$name" "$path,$2"
    done < <(grep "/$1:" <<<"$names" | grep -v /k8s-authenticated-test/)
}

oci_begin
root=$oci_work/root
mkdir "$root"
echo "conformance: making a Debian system from packages for its images, once"
mmdebstrap --quiet --mode=root --variant=minbase --include="$packages" \
    --aptopt='Acquire::Languages "none"' --aptopt='Apt::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    bookworm - "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" </dev/null |
    tar --extract --directory="$root" --exclude='./dev/*' --exclude='./var/cache/*' --exclude='./var/lib/apt/lists/*'

# agnhost's image, as its Dockerfile describes it: the second name is that of another entrypoint, and the user and group
# are those of the specs about supplemental groups.
install -m 755 "$bin/agnhost" "$root/agnhost"
ln -s agnhost "$root/agnhost-2"
install -m 644 -t "$root" "$sources"/agnhost/porter/localhost.{crt,key}
mkdir "$root/uploads"
echo 'user-defined-in-image:x:1000:1000::/home:/bin/sh' >>"$root/etc/passwd"
echo 'user-defined-in-image:x:1000:
group-defined-in-image:x:50000:user-defined-in-image' >>"$root/etc/group"
# Others need a program beside it.
install -m 6755 "$bin/nonewprivs" "$root/usr/local/bin/nnp"
install -m 755 "$bin/sample-apiserver" "$root/sample-apiserver"
# As in nginx' own image, what it writes is the container's log.
ln -sf /dev/stdout "$root/var/log/nginx/access.log"
ln -sf /dev/stderr "$root/var/log/nginx/error.log"

path='"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]'
oci_layer "$root"
images agnhost '"Entrypoint":["/agnhost"],"Cmd":["pause"]'
images nginx '"Cmd":["nginx","-g","daemon off;"],"StopSignal":"SIGQUIT"'
images nonroot '"User":"1234","Cmd":["bash"]'
images nonewprivs '"Cmd":["nnp"]'
images glibc-dns-testing '"Cmd":["bash"]'
images sample-apiserver '"Entrypoint":["/sample-apiserver"]'
mv "$root/bin/bash-static" "$oci_work/bash"
rm -r "$root"

# Two that answer with different files.
for program in kitten nautilus; do
    mkdir "$root"
    install -m 755 "$bin/agnhost" "$root/agnhost"
    cp "$sources/$program"/html/* "$root/"
    oci_layer "$root"
    images "$program" '"Entrypoint":["/agnhost"],"Cmd":["test-webserver"]'
    rm -r "$root"
done

# The shell of Debian's busybox drops variables whose names are none of a shell's. The specs that look for such run `sh`,
# which is bash here; one that expects an error in busybox' words runs /bin/sh.
busybox_root "$root"
install -D "$oci_work/bash" "$root/usr/local/bin/sh"
oci_layer "$root"
images busybox '"Cmd":["sh"]'
oci_finish "$archive" "$key"
tests/setup/give-back.sh "$archive"
