import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { assert, Secret } from '@alcove/base';
import { KeyUnavailable } from './key-provider';
import { deriveSubkey, keyBytes, wipe } from './keys';

/**
 * The file of the root key. Either 32 raw bytes, which are version 1; or, once it was rotated:
 *
 *     'A' 'R' 1 1 · key id (16) · for each version that is kept: number (u32, big-endian) · key (32)
 *
 * The id is HKDF of the first version and stays when that one is shut. Versions ascend and are never used again.
 */
export interface KeyRing {
  /** 32 hexadecimal digits. */
  readonly id: string;
  readonly keys: Map<number, Secret<Buffer>>;
}

const magic = Buffer.from([0x41, 0x52, 1, 1]);
const idBytes = 16;
const entryBytes = 4 + keyBytes;
const maxVersions = 16;
const maxFileBytes = magic.length + idBytes + maxVersions * entryBytes;

/** Reads and checks a root key file. A KeyUnavailable as FileKeyProvider.open says. */
export async function readKeyRing(path: string): Promise<KeyRing> {
  const bytes = await readSecretFile(path, maxFileBytes);
  try {
    const ring = parseKeyRing(bytes);
    if (!ring) throw new KeyUnavailable('denied', `${path} is no root key: it is neither ${keyBytes} bytes long nor a ring of versions`);
    return ring;
  } finally {
    wipe(bytes);
  }
}

function parseKeyRing(bytes: Buffer): KeyRing | undefined {
  if (bytes.length === keyBytes) {
    const key = new Secret(Buffer.from(bytes));
    return { id: deriveSubkey(key, ['key-id'], idBytes).expose().toString('hex'), keys: new Map([[1, key]]) };
  }
  const entries = (bytes.length - magic.length - idBytes) / entryBytes;
  if (!Number.isInteger(entries) || entries < 1 || !bytes.subarray(0, magic.length).equals(magic)) return undefined;
  const keys = new Map<number, Secret<Buffer>>();
  let last = 0;
  for (let at = magic.length + idBytes; at < bytes.length; at += entryBytes) {
    const version = bytes.readUInt32BE(at);
    if (version <= last) return undefined;
    keys.set((last = version), new Secret(Buffer.from(bytes.subarray(at + 4, at + entryBytes))));
  }
  return { id: bytes.subarray(magic.length, magic.length + idBytes).toString('hex'), keys };
}

/**
 * A small file with a secret, whole. Not followed when it is a link, and looked at through the open handle: what is checked is what is read. Non-blocking, so that a
 * FIFO is refused, not waited for. The bytes are the caller's to wipe.
 */
export async function readSecretFile(path: string, maxBytes: number): Promise<Buffer> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch((cause: unknown) => {
    throw new KeyUnavailable('unreachable', `${path} cannot be opened`, cause);
  });
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new KeyUnavailable('denied', `${path} is not a regular file`);
    if ((stat.mode & 0o077) !== 0) throw new KeyUnavailable('denied', `${path} may be read or changed by others: chmod 600 it`);
    if (stat.uid !== process.getuid?.()) throw new KeyUnavailable('denied', `${path} belongs to another user`);
    if (stat.size === 0 || stat.size > maxBytes) throw new KeyUnavailable('denied', `${path} is not 1 to ${maxBytes} bytes long`);
    const bytes = Buffer.alloc(stat.size);
    const { bytesRead } = await file.read(bytes, 0, stat.size, 0);
    if (bytesRead !== stat.size) throw new KeyUnavailable('unreachable', `${path} changed while it was read`);
    return bytes;
  } finally {
    await file.close();
  }
}

/**
 * Makes a new root key file of mode 0600, durable when this resolves. Never overwrites: Problem `vault.key_unavailable` when something is there already or it cannot be
 * written. The name appears only once the file is whole, so a crash leaves no half key.
 */
export async function createRootKeyFile(path: string): Promise<void> {
  const key = randomBytes(keyBytes);
  try {
    await writeSecretFile(path, key, 'new');
  } finally {
    wipe(key);
  }
}

/**
 * Adds a newest version to a root key file and resolves with its number; the others stay, to unwrap. Providers that are open do not see it: open them again. The caller
 * keeps others from changing the file meanwhile. Problem `vault.key_unavailable` when the file cannot be used or written, or has 16 versions.
 */
export async function addRootKeyVersion(path: string): Promise<number> {
  const ring = await readKeyRing(path);
  if (ring.keys.size >= maxVersions) throw new KeyUnavailable('denied', `${path} has ${maxVersions} versions: shut old ones first`);
  const version = Math.max(...ring.keys.keys()) + 1;
  ring.keys.set(version, new Secret(randomBytes(keyBytes)));
  await writeRing(path, ring);
  return version;
}

/**
 * Takes all versions below the given one out of a root key file, for good: what is still wrapped under them can be unwrapped no more. Copies of the file keep them. The
 * given version must be there (Problem `vault.key_unavailable`). Resolves with how many were taken out.
 */
export async function shutRootKeyVersions(path: string, below: number): Promise<number> {
  const ring = await readKeyRing(path);
  if (!ring.keys.has(below)) throw new KeyUnavailable('denied', `${path} has no version ${below}`);
  const old = [...ring.keys.keys()].filter((version) => version < below);
  for (const version of old) ring.keys.delete(version);
  if (old.length > 0) await writeRing(path, ring);
  return old.length;
}

async function writeRing(path: string, ring: KeyRing): Promise<void> {
  const entries = [...ring.keys].flatMap(([version, key]) => {
    const number = Buffer.alloc(4);
    number.writeUInt32BE(version);
    return [number, key.expose()];
  });
  const bytes = Buffer.concat([magic, Buffer.from(ring.id, 'hex'), ...entries]);
  assert(bytes.length <= maxFileBytes, 'a key ring is bounded');
  try {
    await writeSecretFile(path, bytes, 'replace');
  } finally {
    wipe(bytes);
    for (const key of ring.keys.values()) wipe(key.expose());
  }
}

/** Writes a file of mode 0600 so that its name is only ever seen with the whole of it, durable when this resolves. A KeyUnavailable when it cannot, or is not new. */
export async function writeSecretFile(path: string, bytes: Buffer, how: 'new' | 'replace'): Promise<void> {
  const beside = `${path}.${randomBytes(6).toString('hex')}.new`;
  try {
    await writeDurably(beside, bytes);
    try {
      await (how === 'new' ? link(beside, path) : rename(beside, path));
    } finally {
      if (how === 'new') await unlink(beside);
    }
    const folder = await open(dirname(path), constants.O_RDONLY);
    await folder.sync().finally(() => folder.close());
  } catch (cause) {
    throw new KeyUnavailable('unreachable', `${path} cannot be made`, cause);
  }
}

async function writeDurably(path: string, bytes: Buffer): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}
