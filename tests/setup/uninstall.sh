#!/bin/bash
# Removes what install.sh installed and puts back the plugins that were there before. Pods, their data and the
# configuration stay: `gantry cleanup` removes those, before this.
# environment: DESTDIR, PREFIX as for install.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/setup/installed.sh

if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
    echo "Removing from $prefix and $cni_bin takes root: sudo make uninstall" >&2
    exit 1
fi
if [ -z "$root" ] && [ -d /run/systemd/system ] && systemctl --quiet is-active gantry; then
    systemctl disable --now gantry
fi

for plugin in "${plugins[@]}"; do
    path=$root$cni_bin/$plugin
    if [ "$(readlink "$path")" = "$prefix/lib/gantry/gantry-cni" ]; then
        rm "$path"
    fi
    if [ -e "$path.before-gantry" ] && [ ! -e "$path" ]; then
        mv "$path.before-gantry" "$path"
    fi
    path=$root$debian_cni_bin/$plugin
    if [ "$(readlink "$path")" = "$prefix/lib/gantry/gantry-cni" ]; then
        rm "$path"
    fi
done
path=$root$cni_bin/$copied_plugin
if cmp --silent "$path" "$root$prefix/lib/gantry/gantry-cni"; then
    rm "$path"
fi
path=$root$debian_cni_bin/$copied_plugin
if [ "$(readlink "$path")" = "$prefix/lib/gantry/gantry-cni" ]; then
    rm "$path"
fi
rm -f "$root$prefix/bin/gantry" "$root$units/gantry.service" "$root$bash_completions/gantry" \
    "$root$zsh_completions/_gantry" "$root$fish_completions/gantry.fish" "$root$man"/gantry{,-*}.1
rm -rf "$root$prefix/lib/gantry" "$root$documents"
# Directories go where nothing else is in them, up to those that every machine has.
for directory in "$cni_bin" "$debian_cni_bin" "$units" "$bash_completions" "$zsh_completions" "$fish_completions" "$man" "$documents" \
    /etc/kubernetes/manifests; do
    while true; do
        case $directory in
            '' | /etc | /opt | /usr | /usr/lib | "$prefix" | "$prefix"/lib | "$prefix"/share | "$prefix"/share/man) break ;;
        esac
        # Absent is as good as removed; what is not empty ends the way up.
        [ ! -d "$root$directory" ] || rmdir "$root$directory" 2>/dev/null || break
        directory=${directory%/*}
    done
done
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
