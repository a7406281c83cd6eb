#!/bin/bash
# Makes the demo image from Debian's busybox-static, asking no registry: an OCI archive with the names
# gantry.local/demo:1 and gantry.local/busybox:1, the same bytes each time.
# usage: tests/setup/images.sh [FILE]   (default target/images/demo.tar)
set -euo pipefail
cd "$(dirname "$0")/../.."

archive=$(realpath -m "${1:-target/images/demo.tar}")
busybox=$(dpkg-query --listfiles busybox-static | grep -x '.*/bin/busybox')
key=$(cat "$0" "$busybox" | sha256sum | cut -c1-64)
if [ -e "$archive" ] && [ "$(cat "$archive.key" 2>/dev/null)" = "$key" ]; then
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

root=$work/root
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

# What makes two archives of the same files the same.
tar=(tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu)
oci=$work/oci
mkdir -p "$oci/blobs/sha256"
# Moves a file among the blobs and prints its descriptor, but for the closing brace.
blob() { # MEDIA-TYPE FILE
    local digest size
    digest=$(sha256sum "$2" | cut -c1-64)
    size=$(stat --format=%s "$2")
    mv "$2" "$oci/blobs/sha256/$digest"
    printf '{"mediaType":"%s","digest":"sha256:%s","size":%s' "$1" "$digest" "$size"
}
media=application/vnd.oci.image

"${tar[@]}" -C "$root" -cf "$work/layer" .
diff_id=$(sha256sum "$work/layer" | cut -c1-64)
layer="$(blob $media.layer.v1.tar "$work/layer")}"
architecture=$(dpkg --print-architecture)

# Prints the descriptor of an image with this command, to stand in the index under this name.
image() { # NAME COMMAND-JSON
    cat >"$work/config" <<JSON
{"created":"1970-01-01T00:00:00Z","architecture":"$architecture","os":"linux",
"config":{"Cmd":$2,"WorkingDir":"/"},
"rootfs":{"type":"layers","diff_ids":["sha256:$diff_id"]},
"history":[{"created":"1970-01-01T00:00:00Z","created_by":"tests/setup/images.sh"}]}
JSON
    local config
    config="$(blob $media.config.v1+json "$work/config")}"
    cat >"$work/manifest" <<JSON
{"schemaVersion":2,"mediaType":"$media.manifest.v1+json","config":$config,"layers":[$layer]}
JSON
    blob $media.manifest.v1+json "$work/manifest"
    printf ',"platform":{"architecture":"%s","os":"linux"}' "$architecture"
    printf ',"annotations":{"io.containerd.image.name":"%s","org.opencontainers.image.ref.name":"%s"}}' "$1" "${1##*:}"
}
demo=$(image gantry.local/demo:1 '["httpd","-f","-v","-p","8080","-h","/www"]')
plain=$(image gantry.local/busybox:1 '["sh"]')
printf '{"schemaVersion":2,"mediaType":"%s.index.v1+json","manifests":[%s,%s]}\n' "$media" "$demo" "$plain" \
    >"$oci/index.json"
echo '{"imageLayoutVersion":"1.0.0"}' >"$oci/oci-layout"

mkdir -p "$(dirname "$archive")"
"${tar[@]}" -C "$oci" -cf "$work/archive" oci-layout index.json blobs
mv "$work/archive" "$archive"
echo "$key" >"$archive.key"
tests/setup/give-back.sh "$(dirname "$archive")"
