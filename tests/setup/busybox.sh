# Makes the files of an image from Debian's busybox-static. Sourced.

busybox_program() { dpkg-query --listfiles busybox-static | grep -x '.*/bin/busybox'; }

# A directory with every applet, two users and an empty /tmp.
busybox_root() { # ROOT
    local program
    program=$(busybox_program)
    mkdir -p "$1"/{bin,etc,root,var/log}
    mkdir -m 1777 "$1/tmp"
    install -m 755 "$program" "$1/bin/busybox"
    "$program" --list | grep -vx busybox | while read -r applet; do
        ln -s busybox "$1/bin/$applet"
    done
    echo 'root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false' >"$1/etc/passwd"
    echo 'root:x:0:
nogroup:x:65534:' >"$1/etc/group"
    chmod -R go=u-w "$1/etc"
}
