#!/usr/bin/env bash
# Makes what all templates share: build-base.sh --out DIR --cache DIR [--packages "a b c"] [--disk-mib N]
#   vmlinuz      Debian's cloud kernel, unpacked, not installed
#   initrd.img   the guest agent as /init and the few modules that the kernel has not built in
#   guest-agent  the static Rust binary
#   base.tar     Debian with the packages that a room needs, and the user `user`
#   packages     the list of its packages and versions
#   kernel       the kernel's version
#   disk.ext4    the blank disk that rooms start from (sparse)
# Everything is made once and kept in the cache under a key of what it was made from.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/build/cache.sh"
export LC_ALL=C SOURCE_DATE_EPOCH=1704067200 E2FSPROGS_FAKE_TIME=1704067200 PATH="$PATH:/usr/sbin:/sbin"

PACKAGES="attr bash coreutils python3-minimal libpython3-stdlib openssl ca-certificates curl git sudo procps"
suite=bookworm
disk_mib=4096
more=""
while [ $# -gt 0 ]; do
  case $1 in
    --out) out=$2 ;;
    --cache) cache=$2 ;;
    --packages) more=$2 ;;
    --disk-mib) disk_mib=$2 ;;
    *) fail "unknown option $1" ;;
  esac
  shift 2
done
mkdir -p "${out:?--out is missing}" "${cache:?--cache is missing}"
out=$(cd "$out" && pwd)
cache=$(cd "$cache" && pwd)
need apt-get apt-cache dpkg mmdebstrap mkfs.ext4 depmod modprobe flock
node=$(find_node "$here/..")
arch=$(dpkg --print-architecture)

# ---- kernel

make_kernel() {
  local work=$1.work
  rm -rf "$work"
  mkdir -p "$work/deb"
  say "kernel $kernel_package $kernel_version: downloading"
  (cd "$work/deb" && apt-get -q -o APT::Sandbox::User=root download "$kernel_package=$kernel_version" >&2)
  dpkg -x "$work"/deb/*.deb "$work/tree"
  mkdir "$1"
  mv "$work"/tree/boot/vmlinuz-* "$1/vmlinuz"
  mv "$work/tree/lib" "$1/lib"
  ls "$1/lib/modules" >"$1/version"
  depmod -b "$1" "$(cat "$1/version")"
  rm -rf "$work"
}

kernel_package=$(apt-cache depends "linux-image-cloud-$arch" 2>/dev/null | awk '/Depends:/ { print $2; exit }')
[ -n "$kernel_package" ] || fail "apt does not know linux-image-cloud-$arch: run apt-get update"
kernel_version=$(apt-cache policy "$kernel_package" | awk '/Candidate:/ { print $2 }')
kernel="$cache/kernel-$(printf '%s %s' "$kernel_package" "$kernel_version" | key_of_input)"
cached "$kernel" make_kernel

# ---- guest agent

make_agent() {
  say "guest agent: compiling"
  "$here/guest-agent/build.sh" "$1"
}

agent="$cache/guest-agent-$({ find "$here/guest-agent/src" -name '*.rs' -print0 | sort -z | xargs -0 cat; cat "$here/guest-agent/build.sh"; } | key_of_input)"
cached "$agent" make_agent

# ---- initrd

# Modules and what they need, in the order in which they must be loaded.
modules_of() {
  local name
  for name in "$@"; do
    modprobe -d "$kernel" -S "$(cat "$kernel/version")" --show-depends "$name" | awk '$1 == "insmod" { print $2 }'
  done | awk '!seen[$0]++'
}

make_initrd() {
  say "initrd: packing"
  # shellcheck disable=SC2046
  "$node" "$here/build/newc.mjs" "$1" "$agent" $(modules_of virtio_mmio virtio_blk virtio_console erofs overlay)
}

initrd="$cache/initrd-$({ sha256_of "$agent"; basename "$kernel"; cat "$here/build/newc.mjs" "$here/build-base.sh"; } | key_of_input)"
cached "$initrd" make_initrd

# ---- Debian

make_debian() {
  local mode=unshare mirror=http://deb.debian.org/debian
  [ "$(id -u)" = 0 ] && mode=root
  say "Debian $suite: $packages"
  mmdebstrap --quiet --mode=$mode --variant=minbase --format=tar --architectures="$arch" \
    --include="$(printf '%s' "$packages" | tr ' ' ',')" \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook="$(cat "$here/build/customize.sh")" \
    "$suite" "$1" \
    "deb $mirror $suite main" "deb $mirror $suite-updates main" "deb http://deb.debian.org/debian-security $suite-security main" >&2
}

packages=$(printf '%s\n' $PACKAGES $more | sort -u | tr '\n' ' ' | sed 's/ $//')
debian="$cache/debian-$({ printf '%s %s %s' "$arch" "$suite" "$packages"; cat "$here/build/customize.sh"; } | key_of_input).tar"
cached "$debian" make_debian

# ---- disk

make_disk() {
  truncate -s "${disk_mib}M" "$1"
  # Initialised in full, so that no kernel thread does it later in every room; a small journal, because what it has once
  # written stays in a room's disk. One group with its tables at the front and no copies of the superblock: what is not zero
  # lies at the beginning, and a template keeps only that.
  mkfs.ext4 -q -F -m 0 -J size=16 -G 4096 -O sparse_super2 -U 7f0c2f6e-5d0b-4c2a-9d3b-a1c0e0000001 -L room \
    -E num_backup_sb=0,packed_meta_blocks=1,lazy_itable_init=0,lazy_journal_init=0,hash_seed=7f0c2f6e-5d0b-4c2a-9d3b-a1c0e0000002 "$1"
}

disk="$cache/disk-$({ printf '%s %s' "$disk_mib" "$E2FSPROGS_FAKE_TIME"; declare -f make_disk; } | key_of_input).ext4"
cached "$disk" make_disk

place "$kernel/vmlinuz" "$out/vmlinuz"
place "$initrd" "$out/initrd.img"
place "$agent" "$out/guest-agent"
place "$disk" "$out/disk.ext4"
place "$kernel/version" "$out/kernel"
ln -sfn "$debian" "$out/base.tar"
tar -xOf "$debian" ./usr/share/alcove/packages >"$out/packages"
say "base: kernel $(cat "$out/kernel"), $(wc -l <"$out/packages") packages"
