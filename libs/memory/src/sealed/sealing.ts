import { createHmac } from 'node:crypto';
import type { Secret } from '@alcove/base';
import type { KeyOwner, KeyPurpose, LentKeys } from '@alcove/keys';
import { openValue, sealValue, wipe } from '@alcove/vault';
import { pad, unpad } from './padding';

/** What a ciphertext is: it opens as nothing else. */
export interface Place {
  /** A record, an event, an entry's record, a segment's number. */
  readonly id: string;
  readonly field: string;
  /** Of the record; the sequence number of what is sealed together. */
  readonly version: number;
}

export interface Sealed {
  readonly keyVersion: number;
  readonly bytes: Buffer;
}

/** Where sealValue (libs/vault) puts its commitment: 32 bytes that no two ciphertexts share and that fix key, nonce and place. */
const commitmentStart = 28;
export const commitmentBytes = 32;
export const commitmentOf = (sealed: Buffer): Buffer => sealed.subarray(commitmentStart, commitmentStart + commitmentBytes);
/** The same for substr() of SQL, which counts from 1. */
export const commitmentInSql = commitmentStart + 1;

/** A user's keys while they are lent. Nothing of it may outlive the function that the keys are lent to. */
export class Sealing {
  readonly #subkeys = new Map<string, Secret<Buffer>>();

  constructor(
    private readonly keys: LentKeys,
    private readonly owner: KeyOwner,
  ) {}

  get current(): number {
    return this.keys.current;
  }

  seal(purpose: KeyPurpose, place: Place, plain: Buffer): Sealed {
    const keyVersion = this.keys.current;
    return { keyVersion, bytes: sealValue(this.#key(purpose, keyVersion), plain, this.#associated(place, keyVersion)) };
  }

  /** Problem `vault.corrupt`: it is not what was sealed for this place of this user under that version of the key. */
  open(purpose: KeyPurpose, place: Place, keyVersion: number, sealed: Buffer): Buffer {
    return openValue(this.#key(purpose, keyVersion), sealed, this.#associated(place, keyVersion));
  }

  /** Text, padded to a bucket. */
  sealText(place: Place, text: string): Sealed {
    const plain = Buffer.from(text, 'utf8');
    const padded = pad(plain);
    const sealed = this.seal('memory.content', place, padded);
    wipe(plain);
    wipe(padded);
    return sealed;
  }

  openText(place: Place, keyVersion: number, sealed: Buffer): string {
    const padded = this.open('memory.content', place, keyVersion, sealed);
    const text = unpad(padded).toString('utf8');
    wipe(padded);
    return text;
  }

  /** HMAC-SHA256 under the user's key for looking things up that must not be read: it tells equal from unequal, within this user only. */
  blind(keyVersion: number, parts: readonly (string | Buffer)[]): Buffer {
    const mac = createHmac('sha256', this.#key('memory.blind_index', keyVersion).expose());
    for (const part of parts) {
      const bytes = typeof part === 'string' ? Buffer.from(part, 'utf8') : part;
      const length = Buffer.alloc(4);
      length.writeUInt32LE(bytes.length);
      mac.update(length).update(bytes);
    }
    return mac.digest();
  }

  /** The key that hides vectors and names where another index must hold them. */
  vectorsKey(version: number): Secret<Buffer> {
    return this.#key('memory.vectors', version);
  }

  #key(purpose: KeyPurpose, version: number): Secret<Buffer> {
    const name = `${purpose}/${version}`;
    const known = this.#subkeys.get(name);
    if (known) return known;
    const key = this.keys.subkey(purpose, version);
    this.#subkeys.set(name, key);
    return key;
  }

  #associated({ id, field, version }: Place, keyVersion: number): string[] {
    return ['memory/1', this.owner.tenantId, this.owner.userId, id, field, String(version), String(keyVersion)];
  }
}
