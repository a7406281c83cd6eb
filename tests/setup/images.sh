#!/bin/bash
# Makes the demo image from Debian's busybox-static, asking no registry: an OCI archive with the names
# gantry.local/demo:1 and gantry.local/busybox:1, the same bytes each time.
# usage: tests/setup/images.sh [FILE]   (default target/images/demo.tar)
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/setup/oci.sh

archive=$(realpath -m "${1:-target/images/demo.tar}")
busybox=$(dpkg-query --listfiles busybox-static | grep -x '.*/bin/busybox')
key=$(cat "$0" tests/setup/oci.sh "$busybox" | sha256sum | cut -c1-64)
if oci_is_made "$archive" "$key"; then
    exit 0
fi

oci_begin
root=$oci_work/root
mkdir -p "$root"/{bin,etc,root,www,var/log}
mkdir -m 1777 "$root/tmp"
install -m 755 "$busybox" "$root/bin/busybox"
"$busybox" --list | grep -vx busybox | while read -r applet; do
    ln -s busybox "$root/bin/$applet"
done
echo 'root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false' >"$root/etc/passwd"
echo 'root:x:0:
nogroup:x:65534:' >"$root/etc/group"
echo '<!doctype html><title>gantry</title><h1>It runs.</h1>' >"$root/www/index.html"
chmod -R go=u-w "$root/etc" "$root/www" && chmod 1777 "$root/tmp"

oci_layer "$root"
oci_image gantry.local/demo:1 '"Cmd":["httpd","-f","-v","-p","8080","-h","/www"]'
oci_image gantry.local/busybox:1 '"Cmd":["sh"]'
oci_finish "$archive" "$key"
tests/setup/give-back.sh "$(dirname "$archive")"
