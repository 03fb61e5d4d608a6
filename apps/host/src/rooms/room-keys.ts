import { Secret } from '@alcove/base';
import { Problem, type RoomKeys } from '@alcove/contracts';
import type { RoomSpec } from '@alcove/runtime';

/** Base64 subkeys as secrets. Throws `request.invalid` when one is not 32 bytes. */
export function secretKeys(keys: RoomKeys): RoomSpec['keys'] {
  const open = (text: string): Secret<Buffer> => {
    const bytes = Buffer.from(text, 'base64');
    if (bytes.length !== 32) throw new Problem('request.invalid', { detail: 'a key must be 32 bytes' });
    return new Secret(bytes);
  };
  return { image: open(keys.image), disk: open(keys.disk) };
}
