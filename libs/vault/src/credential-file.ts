import { Secret } from '@alcove/base';
import { KeyUnavailable } from './key-provider';
import { readSecretFile } from './key-ring';
import { wipe } from './keys';

const maxCredentialBytes = 16 << 10;

/**
 * A credential from a 0600 file, read for every request: the file is small, and whoever renews it (an agent of Vault, a rotation of access keys) need not tell us. A
 * KeyUnavailable when it cannot be read or is none; never its content.
 */
export async function readCredential<T>(path: string, parse: (text: string) => T): Promise<T> {
  const bytes = await readSecretFile(path, maxCredentialBytes);
  try {
    return parse(bytes.toString('utf8'));
  } catch {
    throw new KeyUnavailable('denied', `${path} does not hold the credentials that are expected there`);
  } finally {
    wipe(bytes);
  }
}

/** A token of visible ASCII, with a line end or without. */
export function parseToken(text: string): Secret<string> {
  const token = text.trim();
  if (!/^[\x21-\x7e]{1,4096}$/.test(token)) throw new Error('no token');
  return new Secret(token);
}
