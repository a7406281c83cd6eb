# Where things are installed; read by install.sh and uninstall.sh, so that both mean the same places.
root=${DESTDIR:-}
prefix=${PREFIX:-/usr/local}
# Where cargo built them.
programs=${GANTRY_PROGRAMS:-target/release}
plugins=(loopback bridge host-local portmap bandwidth firewall)
# This one is a copy, not a link: flannel's DaemonSet copies its own plugin over it, and through a link into all of them.
copied_plugin=flannel
# Where containerd looks, whatever the prefix.
cni_bin=/opt/cni/bin
# And where Debian's containerd looks from Debian 13 on.
debian_cni_bin=/usr/lib/cni
units=/usr/local/lib/systemd/system
bash_completions=$prefix/share/bash-completion/completions
zsh_completions=$prefix/share/zsh/site-functions
fish_completions=$prefix/share/fish/vendor_completions.d
man=$prefix/share/man/man1
documents=$prefix/share/doc/gantry
