#!/bin/sh
# Runs at the end of mmdebstrap with the new root's path: the user, links into /run/alcove, and less weight. Handed over as text:
# without root, mmdebstrap is a user that may not read our files.
set -eu
root=$1
chroot "$root" useradd --create-home --uid 1000 --shell /bin/bash user
printf 'user ALL=(ALL) NOPASSWD: ALL\n' >"$root/etc/sudoers.d/user"
chmod 0440 "$root/etc/sudoers.d/user"
ln -sfn python3 "$root/usr/bin/python"

# Identity comes with the claim and lives in memory.
for name in machine-id hostname hosts; do
  ln -sfn "/run/alcove/$name" "$root/etc/$name"
done

mkdir -p "$root/etc/alcove" "$root/usr/lib/alcove" "$root/usr/share/alcove" "$root/opt/agent" "$root/var/log/alcove"
chroot "$root" dpkg-query -W -f '${Package} ${Version}\n' >"$root/usr/share/alcove/packages"

# What differs from one build to the next without any use in a room.
rm -rf "$root"/var/cache/* "$root"/var/log/*.log "$root"/var/log/apt "$root"/var/lib/apt/lists/* "$root"/etc/*- "$root"/run/*
find "$root/usr" -name __pycache__ -prune -exec rm -rf {} +

# Python's modules, compiled: a room's user cannot keep what it compiles, and compiling is slow in an emulated machine. Without times, and with
# fixed hashes, so that the same sources give the same bytes.
chroot "$root" env PYTHONHASHSEED=0 python3 -B -c 'import compileall, os, py_compile
compileall.compile_dir(os.path.dirname(os.__file__), quiet=2, force=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)'
