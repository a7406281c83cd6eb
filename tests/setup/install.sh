#!/bin/bash
# Installs what `make build` built: programs, plugins, unit, completions, man pages.
# environment: DESTDIR (a directory that stands for /, for packages and images), PREFIX (default /usr/local),
# GANTRY_PROGRAMS (default target/release)
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/setup/installed.sh

if [ ! -x "$programs/gantry" ] || [ ! -x "$programs/gantry-cni" ]; then
    echo "Nothing to install yet: run \`make build\` first." >&2
    exit 1
fi
if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
    echo "Installing into $prefix and $cni_bin takes root: sudo make install (or DESTDIR=somewhere)" >&2
    exit 1
fi

copy=$root$cni_bin/$copied_plugin
if cmp --silent "$copy" "$root$prefix/lib/gantry/gantry-cni"; then
    rm "$copy"
fi
install -D -m 755 "$programs/gantry" "$root$prefix/bin/gantry"
install -D -m 755 "$programs/gantry-cni" "$root$prefix/lib/gantry/gantry-cni"

# The plugins are one program under several names. Another vendor's file under such a name is kept aside, and comes
# back at `make uninstall`.
mkdir -p "$root$cni_bin"
for plugin in "${plugins[@]}"; do
    path=$root$cni_bin/$plugin
    if [ -e "$path" ] && [ "$(readlink "$path")" != "$prefix/lib/gantry/gantry-cni" ]; then
        echo "keeping the $plugin that was in $cni_bin as $plugin.before-gantry"
        mv "$path" "$path.before-gantry"
    fi
    ln -sfn "$prefix/lib/gantry/gantry-cni" "$path"
done
# Another vendor's stays: its DaemonSet would bring it back.
[ -e "$copy" ] || install -m 755 "$programs/gantry-cni" "$copy"

# Debian's own plugins lie there, if anybody's: they stay, and do for our network as well.
mkdir -p "$root$debian_cni_bin"
for plugin in "${plugins[@]}" "$copied_plugin"; do
    path=$root$debian_cni_bin/$plugin
    [ -e "$path" ] || ln -sfn "$prefix/lib/gantry/gantry-cni" "$path"
done

mkdir -p "$root$units" "$root/etc/kubernetes/manifests"
sed "s|@PREFIX@|$prefix|" packaging/gantry.service >"$root$units/gantry.service"
chmod 644 "$root$units/gantry.service"

mkdir -p "$root$bash_completions" "$root$zsh_completions" "$root$fish_completions" "$root$man"
"$programs/gantry" completions bash >"$root$bash_completions/gantry"
"$programs/gantry" completions zsh >"$root$zsh_completions/_gantry"
"$programs/gantry" completions fish >"$root$fish_completions/gantry.fish"
"$programs/gantry" man "$root$man"
install -D -m 644 README.md ARCHITECTURE.md CHANGELOG.md LICENSE -t "$root$documents"
install -D -m 644 static-pods/*.yaml -t "$root$documents/static-pods"

echo "installed: $prefix/bin/gantry, ${plugins[*]} $copied_plugin in $cni_bin, $units/gantry.service"
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    echo "next: gantry doctor; systemctl enable --now gantry; then put manifests into /etc/kubernetes/manifests"
fi
