import { createCipheriv, createDecipheriv, type Cipheriv, type Decipheriv } from 'node:crypto';
import type { Secret } from '@alcove/base';
import { wipe } from '@alcove/vault';
import { bytesToId, idBytes, idToBytes } from '../../sealed/id-table';
import { derive, uuidText } from './vector-cloak';

const blockBytes = 16;

/**
 * The names of a user's points: AES-256 of a record's id and six zeros, a permutation of 16 bytes that the user's key chooses. A name says nothing, is the same each time, and whoever has the key
 * reads the record from it. Qdrant takes any 16 bytes in the form of a UUID.
 */
export class PointIds {
  readonly #encrypt: Cipheriv;
  readonly #decrypt: Decipheriv;

  /** `key`: the user's subkey `memory.vectors`. */
  constructor(key: Secret<Buffer>, space: string) {
    const subkey = derive(key, 'point', space);
    this.#encrypt = createCipheriv('aes-256-ecb', subkey.expose(), null).setAutoPadding(false);
    this.#decrypt = createDecipheriv('aes-256-ecb', subkey.expose(), null).setAutoPadding(false);
    wipe(subkey.expose());
  }

  of(recordId: string): string {
    const block = Buffer.alloc(blockBytes);
    idToBytes(recordId).copy(block, 0, 0, idBytes);
    return uuidText(this.#encrypt.update(block));
  }

  /** Null: no name of a record of this user. */
  recordOf(point: string): string | null {
    const block = this.#decrypt.update(Buffer.from(point.replaceAll('-', ''), 'hex'));
    return block.length === blockBytes && block.subarray(idBytes).every((byte) => byte === 0) ? bytesToId(block.subarray(0, idBytes)) : null;
  }
}
