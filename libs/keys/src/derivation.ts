import { createHmac } from 'node:crypto';
import { Secret } from '@alcove/base';
import { deriveSubkey, wipe } from '@alcove/vault';

/** Whose key. */
export interface KeyOwner {
  readonly tenantId: string;
  readonly userId: string;
}

/** What a subkey of a user's key is for. Each gives another key; what a room has is derived with the room's id. */
export const keyPurposes = ['memory.content', 'memory.vectors', 'memory.blind_index', 'export'] as const;
export type KeyPurpose = (typeof keyPurposes)[number];
export type RoomPurpose = 'image' | 'disk' | 'env' | 'token';

/*
 * What each wrap is bound to. Version 1 has no number in it: it is what was written before there were versions, and must open for ever. A wrap that is moved to the row
 * of another version, user or tenant therefore does not open.
 */

export function kekContext(tenantId: string, version: number): string[] {
  return version === 1 ? ['tenant-key', tenantId] : ['tenant-key', tenantId, `version ${version}`];
}

export function dekContext({ tenantId, userId }: KeyOwner, version: number): string[] {
  return version === 1 ? ['user-key', tenantId, userId] : ['user-key', tenantId, userId, `version ${version}`];
}

/** HKDF-SHA256 of the user's key, bound to the purpose; the caller's to wipe. */
export function purposeKey(userKey: Secret<Buffer>, purpose: KeyPurpose): Secret<Buffer> {
  return deriveSubkey(userKey, ['user', purpose]);
}

/** Lends a room's subkey (HKDF-SHA256 of the user's key, bound to room and purpose), which is overwritten afterwards. */
export function withRoomKey<T>(userKey: Secret<Buffer>, roomId: string, purpose: RoomPurpose, use: (subkey: Secret<Buffer>) => T): T {
  const subkey = deriveSubkey(userKey, ['room', roomId, purpose]);
  try {
    return use(subkey);
  } finally {
    wipe(subkey.expose());
  }
}

export function roomKeyText(userKey: Secret<Buffer>, roomId: string, purpose: 'image' | 'disk'): string {
  return withRoomKey(userKey, roomId, purpose, (subkey) => subkey.expose().toString('base64'));
}

/** HMAC-SHA256 under the room's token key. */
export function roomToken(userKey: Secret<Buffer>, roomId: string, purpose: 'surface' | 'traffic'): string {
  return withRoomKey(userKey, roomId, 'token', (subkey) => createHmac('sha256', subkey.expose()).update(purpose).digest('hex'));
}
