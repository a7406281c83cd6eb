#!/bin/bash
# Makes the demo image from Debian's busybox-static, asking no registry: an OCI archive with the names
# gantry.local/demo:1 and gantry.local/busybox:1, the same bytes each time.
# usage: tests/setup/images.sh [FILE]   (default target/images/demo.tar)
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/setup/oci.sh
. tests/setup/busybox.sh

archive=$(realpath -m "${1:-target/images/demo.tar}")
busybox=$(busybox_program)
key=$(cat "$0" tests/setup/{oci,busybox}.sh "$busybox" | sha256sum | cut -c1-64)
if oci_is_made "$archive" "$key"; then
    exit 0
fi

oci_begin
root=$oci_work/root
busybox_root "$root"
mkdir "$root/www"
echo '<!doctype html><title>gantry</title><h1>It runs.</h1>' >"$root/www/index.html"
chmod -R go=u-w "$root/www"

oci_layer "$root"
oci_image gantry.local/demo:1 '"Cmd":["httpd","-f","-v","-p","8080","-h","/www"]'
oci_image gantry.local/busybox:1 '"Cmd":["sh"]'
oci_finish "$archive" "$key"
tests/setup/give-back.sh "$(dirname "$archive")"
