# Makes OCI archives of directories, the same bytes each time, asking no registry. Sourced. An archive is begun, given
# images (each of one layer), and finished:
#   oci_begin; oci_layer DIRECTORY; oci_image NAME CONFIG…; oci_finish FILE KEY

# What makes two archives of the same files the same.
oci_tar=(tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu)
oci_media=application/vnd.oci.image

# Whether the archive is there, made from what this key stands for.
oci_is_made() { # FILE KEY
    [ -e "$1" ] && [ "$(cat "$1.key" 2>/dev/null)" = "$2" ]
}

oci_begin() {
    oci_work=$(mktemp -d)
    trap 'rm -rf "$oci_work"' EXIT
    oci_images=()
    mkdir -p "$oci_work/oci/blobs/sha256"
}

# Moves a file among the blobs and prints its descriptor, but for the closing brace.
oci_blob() { # MEDIA-TYPE FILE
    local digest size
    digest=$(sha256sum "$2" | cut -c1-64)
    size=$(stat --format=%s "$2")
    mv "$2" "$oci_work/oci/blobs/sha256/$digest"
    printf '{"mediaType":"%s","digest":"sha256:%s","size":%s' "$1" "$digest" "$size"
}

# Makes of a directory the layer of the images that follow.
oci_layer() { # DIRECTORY
    "${oci_tar[@]}" -C "$1" -cf "$oci_work/layer" .
    oci_diff_id=$(sha256sum "$oci_work/layer" | cut -c1-64)
    oci_layer="$(oci_blob $oci_media.layer.v1.tar "$oci_work/layer")}"
}

# Adds an image under this name, with these members of its configuration ("Env":[…],"Cmd":[…]).
oci_image() { # NAME CONFIG
    local architecture config manifest
    architecture=$(dpkg --print-architecture)
    cat >"$oci_work/config" <<JSON
{"created":"1970-01-01T00:00:00Z","architecture":"$architecture","os":"linux",
"config":{$2,"WorkingDir":"/"},
"rootfs":{"type":"layers","diff_ids":["sha256:$oci_diff_id"]},
"history":[{"created":"1970-01-01T00:00:00Z","created_by":"${0##*/}"}]}
JSON
    config="$(oci_blob $oci_media.config.v1+json "$oci_work/config")}"
    cat >"$oci_work/manifest" <<JSON
{"schemaVersion":2,"mediaType":"$oci_media.manifest.v1+json","config":$config,"layers":[$oci_layer]}
JSON
    manifest=$(oci_blob $oci_media.manifest.v1+json "$oci_work/manifest")
    manifest+=",\"platform\":{\"architecture\":\"$architecture\",\"os\":\"linux\"}"
    manifest+=",\"annotations\":{\"io.containerd.image.name\":\"$1\",\"org.opencontainers.image.ref.name\":\"${1##*:}\"}}"
    oci_images+=("$manifest")
}

# Writes the archive, and what it was made from.
oci_finish() { # FILE KEY
    local IFS=,
    printf '{"schemaVersion":2,"mediaType":"%s.index.v1+json","manifests":[%s]}\n' "$oci_media" "${oci_images[*]}" \
        >"$oci_work/oci/index.json"
    echo '{"imageLayoutVersion":"1.0.0"}' >"$oci_work/oci/oci-layout"
    mkdir -p "$(dirname "$1")"
    "${oci_tar[@]}" -C "$oci_work/oci" -cf "$1.new" oci-layout index.json blobs
    mv "$1.new" "$1"
    echo "$2" >"$1.key"
    rm -rf "$oci_work"
}
