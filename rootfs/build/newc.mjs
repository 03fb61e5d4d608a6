// Writes an initrd: a cpio archive in the "newc" format of the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
// Done here rather than by cpio(1) because device nodes then need no root, and the same inputs give the same bytes.
//
//   node newc.mjs OUT INIT MODULE…      MODULEs in the order in which they are to be loaded
import { readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';

const [out, init, ...modules] = process.argv.slice(2);
const DIRECTORY = 0o040755;
const PROGRAM = 0o100755;
const FILE = 0o100644;
const CHARACTER_DEVICE = 0o020600;

const parts = [];
let inode = 1;

/** Zero bytes up to the next multiple of four. */
function padding(length) {
  return Buffer.alloc((4 - (length % 4)) % 4);
}

function add(name, mode, content = Buffer.alloc(0), [major, minor] = [0, 0]) {
  const nameBytes = Buffer.from(`${name}\0`);
  // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
  const numbers = [inode++, mode, 0, 0, 1, 0, content.length, 0, 0, major, minor, nameBytes.length, 0];
  const header = Buffer.from(`070701${numbers.map((value) => value.toString(16).padStart(8, '0')).join('')}`);
  parts.push(header, nameBytes, padding(header.length + nameBytes.length), content, padding(content.length));
}

add('dev', DIRECTORY);
add('dev/console', CHARACTER_DEVICE, undefined, [5, 1]);
add('dev/null', CHARACTER_DEVICE, undefined, [1, 3]);
add('init', PROGRAM, readFileSync(init));
add('modules', DIRECTORY);
for (const [index, module] of modules.entries()) {
  add(`modules/${String(index).padStart(2, '0')}-${basename(module)}`, FILE, readFileSync(module));
}
add('TRAILER!!!', 0);
writeFileSync(out, Buffer.concat(parts));
