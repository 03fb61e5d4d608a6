#!/usr/bin/env bash
# Builds the guest agent: build.sh OUT. Needs only a Rust compiler (Debian 12's is enough): no cargo, no crates.
set -euo pipefail
out=${1:?usage: build.sh OUT}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
rustc=${RUSTC:-/usr/bin/rustc}
# Panics end the process at once, and with it the machine; paths of the build machine do not get into the binary.
"$rustc" --edition 2021 -O -C target-feature=+crt-static -C panic=abort -C strip=symbols -C codegen-units=1 \
  --remap-path-prefix "$here=guest-agent" --crate-name guest_agent -o "$out.partial" "$here/src/main.rs"
mv "$out.partial" "$out"
