#!/usr/bin/env bash
# Makes the machine with KVM that this one need not have: a Debian image with QEMU and the kvm-amd module, to be booted in an emulated PC whose processor has
# AMD's virtualisation extension (QEMU's TCG emulates it). Usage: build-outer.sh OUT_FOLDER. Writes outer.ext4, vmlinuz, initrd.img; does nothing when they are there.
set -euo pipefail
out=$1
[ ! -e "$out/outer.ext4" ] || exit 0
mkdir -p "$out"
work=$(mktemp -d "$out/.building-XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cat >"$work/sources.list" <<'LIST'
deb http://deb.debian.org/debian bookworm main
deb http://deb.debian.org/debian bookworm-backports main
LIST
mmdebstrap --quiet --variant=minbase --aptopt='APT::Default-Release "bookworm-backports"' \
  --include=linux-image-cloud-amd64,initramfs-tools,kmod,qemu-system-x86,qemu-utils,e2fsprogs \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  bookworm "$work/tree" "$work/sources.list"
cp "$work"/tree/boot/vmlinuz-* "$work/vmlinuz"
cp "$work"/tree/boot/initrd.img-* "$work/initrd.img"
mkdir -p "$work/tree/alcove"
cp "$(dirname "$0")/outer-init.sh" "$work/tree/outer-init"
chmod 755 "$work/tree/outer-init"
truncate -s 6G "$work/outer.ext4"
mke2fs -q -t ext4 -d "$work/tree" "$work/outer.ext4"
mv "$work/vmlinuz" "$work/initrd.img" "$out/"
mv "$work/outer.ext4" "$out/"
