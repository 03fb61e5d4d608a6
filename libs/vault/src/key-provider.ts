import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, open, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Secret } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import { deriveSubkey, keyBytes, wipe } from './keys';
import { unwrapKey, wrapKey } from './value';

/** What holds the root key. It wraps and unwraps, and never gives the root key away, so that a key service or a hardware module can stand here too. */
export interface KeyProvider {
  /** Names the root key, for the record beside what it wrapped; says nothing about it. */
  readonly keyId: string;
  /** Problem `vault.key_unavailable` when the provider cannot be reached. */
  wrap(key: Secret<Buffer>, context: readonly string[]): Promise<Buffer>;
  /** Problems: `vault.key_unavailable`; `vault.corrupt` when it was wrapped by another root key, for another context, or is damaged. */
  unwrap(wrapped: Buffer, context: readonly string[]): Promise<Secret<Buffer>>;
}

/** The root key in a file of 32 raw bytes that only its owner may read: for development and single machines. */
export class FileKeyProvider implements KeyProvider {
  readonly keyId: string;
  readonly #root: Secret<Buffer>;
  private constructor(root: Secret<Buffer>) {
    this.#root = root;
    this.keyId = `file:${deriveSubkey(root, ['key-id'], 16).expose().toString('hex')}`;
  }
  /** Reads the key. Problem `vault.key_unavailable` when the file is missing, not regular, another user's, readable or writable by others, or not of 32 bytes. */
  static async open(path: string): Promise<FileKeyProvider> {
    return new FileKeyProvider(new Secret(await readKeyFile(path)));
  }
  async wrap(key: Secret<Buffer>, context: readonly string[]): Promise<Buffer> {
    return wrapKey(this.#root, key, context);
  }
  async unwrap(wrapped: Buffer, context: readonly string[]): Promise<Secret<Buffer>> {
    return unwrapKey(this.#root, wrapped, context);
  }
}

async function readKeyFile(path: string): Promise<Buffer> {
  // Not followed when it is a link, and looked at through the open handle: what is checked is what is read. Non-blocking, so that a FIFO is refused, not waited for.
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch((cause: unknown) => {
    throw unavailable(`${path} cannot be opened`, cause);
  });
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw unavailable(`${path} is not a regular file`);
    if ((stat.mode & 0o077) !== 0) throw unavailable(`${path} may be read or changed by others: chmod 600 it`);
    if (stat.uid !== process.getuid?.()) throw unavailable(`${path} belongs to another user`);
    if (stat.size !== keyBytes) throw unavailable(`${path} is not ${keyBytes} bytes long`);
    const key = Buffer.alloc(keyBytes);
    const { bytesRead } = await file.read(key, 0, keyBytes, 0);
    if (bytesRead !== keyBytes) throw unavailable(`${path} is not ${keyBytes} bytes long`);
    return key;
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
  const beside = `${path}.${randomBytes(6).toString('hex')}.new`;
  try {
    await writeDurably(beside, key);
    try {
      await link(beside, path);
    } finally {
      await unlink(beside);
    }
    const folder = await open(dirname(path), constants.O_RDONLY);
    await folder.sync().finally(() => folder.close());
  } catch (cause) {
    throw unavailable(`${path} cannot be made`, cause);
  } finally {
    wipe(key);
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

function unavailable(detail: string, cause?: unknown): Problem {
  return new Problem('vault.key_unavailable', { detail, cause });
}
