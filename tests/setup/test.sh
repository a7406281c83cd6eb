#!/bin/bash
# Runs the named tiers of the tests, each even where an earlier one failed, and sums them up.
# usage: tests/setup/test.sh TIER...   (unit, fuzz, suite, judge, net, node, cluster, vm, skew)
# environment: ONLY (part of a story's name, for node, cluster and vm), DEBIAN (12 or 13, for vm), SEED (for judge)
set -euo pipefail
cd "$(dirname "$0")/../.."

# The tests speak to clusters of their own alone.
unset KUBECONFIG

cargo=tests/setup/cargo.sh
logs=target/test-logs
# Where the stories that cargo runs record how long they took.
export STORY_TIMES=$PWD/$logs/times
mkdir -p "$logs"
: >"$STORY_TIMES"
tests/setup/give-back.sh "$logs"

# What each tier may take once everything is built, in seconds, on two processors; those of `make test` together 1400.
declare -A budget=([unit]=45 [fuzz]=65 [suite]=125 [judge]=30 [net]=110 [node]=140 [cluster]=350 [vm]=520 [skew]=60)

need_root() {
    if [ "$(id -u)" != 0 ]; then
        echo "This tier needs root: sudo make test-$1" >&2
        return 1
    fi
}

# Runs a command with a directory for temporary files of its own. A test takes its directory away when it ends, but an
# agent of its own process, ended in the middle of a write, may make it once more.
with_tmp() { # COMMAND...
    local dir code=0
    dir=$(mktemp -d) && tests/setup/give-back.sh "$dir" || return
    TMPDIR=$dir "$@" || code=$?
    rm -rf "$dir"
    return "$code"
}

# Each of their tests has its own deadline; a deadlock has none, and would take all the time that there is.
readonly tests_deadlocked=1200

unit() {
    tests/setup/packages.sh build && with_tmp timeout "$tests_deadlocked" "$cargo" test --locked --workspace --lib --bins
}

# The story that measures how long a call takes in a crowd has the machine to itself, as those of the node tier do.
suite() {
    local measures=the_api_server_is_answered_among_two_thousand_strangers
    local log=$logs/suite-alone.log
    tests/setup/packages.sh build || return
    with_tmp timeout "$tests_deadlocked" "$cargo" test --locked --test suite -- --skip "$measures" || return
    with_tmp "$cargo" test --locked --test suite -- "$measures" | tee "$log" || return
    # Without a story of this name cargo succeeds, too, and the story that was renamed ran in the crowd.
    if ! grep -q '^test result: ok\. 1 passed' "$log"; then
        echo "There is no story $measures" >&2
        return 1
    fi
}

# The same ten thousand manifests each time, and with SEED=… others.
judge() {
    tests/setup/packages.sh build && tests/control-plane/build.sh judge && "$cargo" test --locked --test judge -- --nocapture
}

# Debian's plugins go through the stories that are not about our own ways, which proves the stories.
net() {
    local others
    tests/setup/packages.sh build run net && "$cargo" test --locked --test overlay || return
    "$cargo" test --locked --package gantry-cni --test '*' || return
    others=$(tests/setup/go-plugins.sh) || return
    CNI_PATH_UNDER_TEST=$others "$cargo" test --locked --package gantry-cni \
        --test netns --test configurations --test bandwidth --test firewall --test macspoofchk
}

fuzz() {
    tests/setup/packages.sh build && FUZZ_SECONDS=${FUZZ_SECONDS:-60} "$cargo" test --locked --test fuzz
}

node() {
    local code=0
    need_root node && tests/setup/packages.sh build run test || return
    tests/containerd/build.sh && tests/control-plane/build.sh kubelet && tests/setup/images.sh || return
    tests/setup/prometheus.sh && tests/setup/kubectl.sh || return
    "$cargo" build --locked --workspace || return
    local binary
    binary=$(tests/setup/test-binary.sh node) || return
    mkdir -p target/node && tests/setup/give-back.sh target/node
    if [ -z "${ONLY:-}" ]; then
        local cgroups
        cgroups=$(tests/setup/test-binary.sh cgroups) && "$cgroups" || code=1
    fi
    "$binary" "${ONLY:-}" && return "$code"
}

cluster() {
    tests/setup/cluster.sh "${ONLY:-}"
}

skew() {
    KUBERNETES=v1.34 tests/setup/cluster.sh skew
}

# With GANTRY_PROGRAMS=target/debug that build is installed, for work on the agent.
vm() {
    need_root vm && tests/setup/packages.sh build run vm || return
    if [ -z "${GANTRY_PROGRAMS:-}" ]; then
        "$cargo" build --release --locked --workspace || return
    fi
    tests/control-plane/build.sh etcd kube-apiserver kube-controller-manager kube-scheduler kubeadm kubectl || return
    tests/setup/images.sh && tests/vm/image.sh "${DEBIAN:-12}" || return
    mkdir -p target/node && tests/setup/give-back.sh target/node
    local binary
    # The kernel of the machine filters VLANs, which not every kernel that runs the tests does.
    VLAN_STORIES=$(tests/setup/test-binary.sh vlan --package gantry-cni) || return
    export VLAN_STORIES
    binary=$(tests/setup/test-binary.sh vm) || return
    # `make chaos WORLD=vm` tells the stories of power failures and of clocks that jump instead.
    DEBIAN=${DEBIAN:-12} "$binary" ${VM_STORIES:+"$VM_STORIES"} "${ONLY:-}"
}

# Adds up the result lines that cargo's tests and the stories end with.
count() { # LOG passed|failed
    sed -nE "s/^test result: .*[^0-9]([0-9]+) $2.*/\1/p" "$1" | awk '{ sum += $1 } END { print sum + 0 }'
}

# Builds what several tiers need, two things at a time: the release build's last minutes are one core's work, and so are
# those of most of the rest. What fails here fails again in its tier, and is reported there.
build_ahead() {
    tests/setup/packages.sh build run test vm || return
    "$cargo" build --release --locked --workspace >"$logs/build-release.log" 2>&1 &
    local release=$!
    { "$cargo" build --locked --workspace && "$cargo" test --locked --workspace --no-run &&
        "$cargo" test --locked --no-run --test node --test cgroups --test cluster --test vm --test fuzz --test judge &&
        tests/control-plane/build.sh && tests/containerd/build.sh; } >"$logs/build.log" 2>&1 || true
    wait "$release" || true
}

tests/setup/preflight.sh "$@"
case " $* " in
    *" node "*" vm "*)
        if [ "$(id -u)" = 0 ]; then
            echo "==== building; more in $logs/build*.log ===="
            start=$SECONDS
            build_ahead
            echo "built after $((SECONDS - start)) s"
        fi
        ;;
esac

# The stories that took longest, of what the tiers printed and noted. (awk reads to the end, so sort is not cut off.)
slowest() { # LOG...
    sed -nE 's/^story (.*) \.\.\. [A-Za-z]+ \(([0-9.]+) s\)$/\2 s  \1/p' "$@" | sort -rn | awk 'NR <= 10'
}

summary=()
ran=()
code=0
for tier in "$@"; do
    echo "==== $tier ===="
    start=$SECONDS
    word=ok
    # A function in a condition runs without `set -e`: each tier stops at its first failed step by itself.
    if ! "$tier" 2>&1 </dev/null | tee "$logs/$tier.log"; then
        word=FAILED
        code=1
    fi
    took=$((SECONDS - start))
    late=
    if [ "$took" -gt "${budget[$tier]}" ]; then
        late=", over its budget of ${budget[$tier]} s"
    fi
    summary+=("$(printf '%-7s %-6s %4d passed, %d failed (%d s%s)' "$tier" "$word" "$(count "$logs/$tier.log" passed)" \
        "$(count "$logs/$tier.log" failed)" "$took" "$late")")
    ran+=("$logs/$tier.log")
done
tests/setup/give-back.sh "$logs"
echo
echo "The slowest stories:"
slowest "${ran[@]}" "$STORY_TIMES"
echo
echo "Summary by tier:"
printf '%s\n' "${summary[@]}"
exit "$code"
