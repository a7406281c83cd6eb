#!/bin/bash
# Builds the control plane of the cluster tier, what runs on its nodes (kube-proxy, CoreDNS), and the kubelet as the peer
# of comparisons, into target/control-plane/bin.
# Given names, builds only those (kubelet kubectl …); `csi` names the CSI driver of the stories and the external controllers. Nothing is done for what is there and whose module is unchanged.
# KUBERNETES=v1.34: the programs of that older Kubernetes instead, into target/control-plane/v1.34/bin.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"

# Under sudo this runs as the person who called, whose toolchain, module cache and target/ these are.
if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ]; then
    home="$(getent passwd "$SUDO_USER" | cut -d: -f6)"
    mkdir -p "$here/../../target" && chown "$SUDO_USER:" "$here/../../target"
    exec runuser -u "$SUDO_USER" -- env HOME="$home" KUBERNETES="${KUBERNETES:-}" PATH="/usr/local/go/bin:$home/go/bin:$PATH" "$here/build.sh" "$@"
fi
export PATH="/usr/local/go/bin:$PATH"
if ! type -P go >/dev/null; then
    echo "build.sh: no Go toolchain, which builds the kubelet and the control plane of the tests: get one from https://go.dev/dl/" >&2
    exit 1
fi
case "${KUBERNETES:-}" in
    '') MODULE=kubernetes bin=bin ;;
    v1.34) MODULE=kubernetes-v1.34 bin=v1.34/bin ;;
    *) echo "build.sh: no control plane of $KUBERNETES is made; there is: v1.34" >&2; exit 2 ;;
esac
out="${CARGO_TARGET_DIR:-$here/../../target}/control-plane/$bin"
mkdir -p "$out"

VERSION="$(sed -nE 's#^.*k8s\.io/kubernetes v([0-9.]+).*#\1#p' "$here/$MODULE/go.mod")"
readonly VERSION MODULE
readonly OF_KUBERNETES=(kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubeadm kubectl kubelet)
# Kubernetes' end-to-end specs, what runs them, and what is in their images: built only where they are asked for.
readonly OF_SPECS=(agnhost e2e.test ginkgo nonewprivs sample-apiserver)
# The external controllers of CSI drivers and the specification's own tests: one module, so that what they share is built
# once. With our csi-driver they are built only where they are asked for, by their names or as `csi`.
readonly OF_CSI=(csi-attacher csi-provisioner csi-resizer csi-sanity)

# What the stamp of a program tells: the module it was made from.
fingerprint() { find "$here/$1" "$here/build.sh" -type f -print0 | LC_ALL=C sort -z | xargs -0 cat | sha256sum | cut -d' ' -f1; }

is_built() { [ -x "$out/$2" ] && [ "$(cat "$out/.$2.made-from" 2>/dev/null)" = "$(fingerprint "$1")" ]; }

# build MODULE LDFLAGS PACKAGE… : each package becomes the program of its last name.
build() {
    local module="$1" ldflags="$2"
    shift 2
    (cd "$here/$module" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w $ldflags" -o "$out/" "$@")
}

# kubeadm compares versions, so the programs must tell the one they are.
version_flags() {
    local package
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        printf -- '-X %s.gitVersion=v%s -X %s.gitMajor=%s -X %s.gitMinor=%s -X %s.gitTreeState=clean ' \
            "$package" "$VERSION" "$package" "${VERSION%%.*}" "$package" "$(cut -d. -f2 <<<"$VERSION")" "$package"
    done
}

# The package of a program for the specs.
spec_package() {
    case "$1" in
        e2e.test) echo k8s.io/kubernetes/test/e2e ;;
        ginkgo) echo github.com/onsi/ginkgo/v2/ginkgo ;;
        sample-apiserver) echo k8s.io/sample-apiserver ;;
        *) echo "k8s.io/kubernetes/test/images/$1" ;;
    esac
}

# The specs are a test binary; the others are programs.
build_for_specs() { # NAME
    if [ "$1" = e2e.test ]; then
        (cd "$here/$MODULE" && CGO_ENABLED=0 go test -c -trimpath -ldflags "-s -w $(version_flags)" -o "$out/$1" "$(spec_package "$1")")
    else
        build "$MODULE" "$(version_flags)" "$(spec_package "$1")"
    fi
}

# The programs that are modules of their own, each in the directory of its name: a main of ours there, or the tool that
# its go.mod names. crictl is what tests/parity/parity.py asks the runtime with.
ALONE=()
for module in "$here"/*/go.mod; do
    name="$(basename "$(dirname "$module")")"
    [[ "$name" = kubernetes* || "$name" = csi ]] || ALONE+=("$name")
done
package_of() { if [ -e "$here/$1/main.go" ]; then echo .; else sed -n 's/^tool //p' "$here/$1/go.mod"; fi; }

wanted=("$@")
if [ $# = 0 ]; then
    wanted=("${OF_KUBERNETES[@]}")
    for name in "${ALONE[@]}"; do [ "$name" = csi-driver ] || wanted+=("$name"); done
elif [ "$*" = csi ]; then
    wanted=(csi-driver "${OF_CSI[@]}")
fi

missing=() missing_csi=()
for name in "${wanted[@]}"; do
    case " ${OF_KUBERNETES[*]} ${OF_SPECS[*]} ${OF_CSI[*]} ${ALONE[*]} " in
        *" $name "*) ;;
        *) echo "build.sh: no program of the control plane is called $name; there are: ${ALONE[*]} ${OF_KUBERNETES[*]} ${OF_SPECS[*]} ${OF_CSI[*]}" >&2; exit 2 ;;
    esac
    if [ -e "$here/$name/go.mod" ]; then
        is_built "$name" "$name" && continue
        echo "control plane: building $name, once"
        build "$name" "" "$(package_of "$name")"
        fingerprint "$name" > "$out/.$name.made-from"
    elif [[ " ${OF_CSI[*]} " = *" $name "* ]]; then
        is_built csi "$name" || missing_csi+=("$name")
    elif [[ " ${OF_SPECS[*]} " = *" $name "* ]]; then
        is_built "$MODULE" "$name" && continue
        echo "control plane: building $name for the specs of Kubernetes v$VERSION, once"
        build_for_specs "$name"
        fingerprint "$MODULE" > "$out/.$name.made-from"
    else
        is_built "$MODULE" "$name" || missing+=("$name")
    fi
done
if [ ${#missing_csi[@]} -gt 0 ]; then
    echo "control plane: building ${missing_csi[*]}, once"
    packages=()
    for name in "${missing_csi[@]}"; do packages+=("$(sed -nE "s#^\t(github\.com/.*/cmd/$name)\$#\1#p" "$here/csi/go.mod")"); done
    build csi "" "${packages[@]}"
    for name in "${missing_csi[@]}"; do fingerprint csi > "$out/.$name.made-from"; done
fi
if [ ${#missing[@]} -gt 0 ]; then
    echo "control plane: building ${missing[*]} of Kubernetes v$VERSION, once"
    build "$MODULE" "$(version_flags)" "${missing[@]/#/k8s.io/kubernetes/cmd/}"
    for name in "${missing[@]}"; do fingerprint "$MODULE" > "$out/.$name.made-from"; done
fi
