#!/bin/bash
# Builds the test binary of this name as the person who called, and prints where it lies.
# usage: tests/setup/test-binary.sh NAME [MORE FOR CARGO...]
set -euo pipefail
cd "$(dirname "$0")/../.."
tests/setup/cargo.sh test --locked --no-run --test "$@" 2>&1 | tee /dev/stderr |
    sed -nE 's/.*Executable tests\/.*\((.*)\)/\1/p' | tail -1
