#!/usr/bin/env bash
# Unit and fuzz tests of the guest agent: test.sh [name of a test…]. FUZZ_SEED=n and FUZZ_ROUNDS=n steer the fuzz tests.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${RUSTC:-/usr/bin/rustc}" --edition 2021 --test -C opt-level=1 -C debug-assertions=on -o "$work/tests" "$here/src/main.rs"
"$work/tests" "$@"
