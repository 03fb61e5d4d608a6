import type { Secret } from '@alcove/base';
import { EnvVars, Problem, type RoomKeys } from '@alcove/contracts';
import type { SqlTx } from '@alcove/db';
import { openValue, sealValue, wipe } from '@alcove/vault';
import type { z } from 'zod';
import { type KeyOwner, type KeyPurpose, purposeKey, roomKeyText, roomToken, withRoomKey } from './derivation';
import type { KeyTree } from './key-tree';

type Env = z.infer<typeof EnvVars>;

/** What opens a room at the edge: its surface, and its other ports where they are not public. */
export interface RoomTokens {
  readonly surface: string;
  readonly traffic: string;
}

/** A user's keys, lent: nothing of them may be kept, and the function they are lent to does not wait. */
export interface LentKeys {
  /** The version that what is written now is sealed under. Stored beside it, it opens it later. */
  readonly current: number;
  /**
   * The key for a purpose, of the current version unless another is named; overwritten when the function it was lent to returns. Problem `vault.corrupt`: a version that
   * this user never had.
   */
  subkey(purpose: KeyPurpose, version?: number): Secret<Buffer>;
}

/** What a room has is derived from the first version of its user's key, whatever version is current: rooms made before there were versions keep their keys. */
const roomVersion = 1;

/**
 * What the rest of the platform does with keys. Wraps lie in a database of their own, so nothing here is part of a caller's transaction: a key that came to be stays, and
 * one that was destroyed stays destroyed, whatever becomes of that.
 */
export class KeysService {
  constructor(private readonly tree: KeyTree) {}

  /**
   * The keys of a room's image and disk, made from the user's key, which comes to be at its first use. The same room always gets the same keys. Base64,
   * for the host; strings cannot be wiped, so do not keep them. Problems: `vault.key_unavailable` (destroyed, revoked, or the root key is another one), `vault.corrupt`.
   */
  async roomKeys(tenantId: string, userId: string, roomId: string): Promise<RoomKeys> {
    return this.#withRoomUser({ tenantId, userId }, (key) => ({ image: roomKeyText(key, roomId, 'image'), disk: roomKeyText(key, roomId, 'disk') }));
  }

  /**
   * What must be shown at the edge to come into a room: HMAC-SHA256 under a subkey of the user's key that is for this room and for nothing else. The same room
   * always gets the same tokens, nothing is stored, and they die with the key. Problems as roomKeys.
   */
  async roomTokens(tenantId: string, userId: string, roomId: string): Promise<RoomTokens> {
    return this.#withRoomUser({ tenantId, userId }, (key) => ({ surface: roomToken(key, roomId, 'surface'), traffic: roomToken(key, roomId, 'traffic') }));
  }

  /**
   * Lends the subkeys of a user's key (HKDF-SHA256 of the key of that version, bound to the purpose) to a function that neither keeps them nor waits: they are
   * overwritten when it returns. The user's key comes to be at its first use. The transaction is not used: wraps lie in another database. Problems:
   * `vault.key_unavailable` (destroyed, revoked, or what is above it cannot be had); `vault.corrupt` for a version that this user never had.
   */
  async withUserKeys<T>(owner: KeyOwner, _tx: SqlTx | undefined, use: (keys: LentKeys) => T): Promise<T> {
    return this.tree.lend(owner, ({ current, key }) => {
      const lent: Secret<Buffer>[] = [];
      const subkey = (purpose: KeyPurpose, version = current): Secret<Buffer> => {
        const made = purposeKey(key(version), purpose);
        lent.push(made);
        return made;
      };
      try {
        return use({ current, subkey });
      } finally {
        for (const made of lent) wipe(made.expose());
      }
    });
  }

  /** Seals a room's environment variables. Problems as roomKeys. */
  async sealEnv(tenantId: string, userId: string, roomId: string, env: Env): Promise<Buffer> {
    const plain = Buffer.from(JSON.stringify(env));
    try {
      return await this.#withRoomUser({ tenantId, userId }, (key) => withRoomKey(key, roomId, 'env', (subkey) => sealValue(subkey, plain, ['env', tenantId, userId, roomId])));
    } finally {
      wipe(plain);
    }
  }

  /** Opens what sealEnv made for the same room. Problems as roomKeys. */
  async openEnv(tenantId: string, userId: string, roomId: string, sealed: Uint8Array): Promise<Env> {
    const plain = await this.#withRoomUser({ tenantId, userId }, (key) =>
      withRoomKey(key, roomId, 'env', (subkey) => openValue(subkey, Buffer.from(sealed), ['env', tenantId, userId, roomId])),
    );
    try {
      const env = EnvVars.safeParse(JSON.parse(plain.toString('utf8')));
      if (!env.success) throw new Problem('vault.corrupt', { detail: 'the environment of this room is none' });
      return env.data;
    } finally {
      wipe(plain);
    }
  }

  /**
   * Removes every version of the user's key for good; tombstones keep it from being made again. What was sealed under it can be opened no more, but for copies of the
   * wraps (backups, old WAL of their database). True when this call did it.
   */
  async destroyUserKeys(owner: KeyOwner): Promise<boolean> {
    return (await this.tree.destroy(owner)).removed > 0;
  }

  #withRoomUser<T>(owner: KeyOwner, use: (key: Secret<Buffer>) => T): Promise<T> {
    return this.tree.lend(owner, ({ key }) => use(key(roomVersion)));
  }
}
