import { createHmac } from 'node:crypto';
import { assert, type Random, type Secret } from '@alcove/base';
import { deriveSubkey, wipe } from '@alcove/vault';
import { keyedNumbers, randomNumbers, type UniformNumbers } from './key-stream';
import { ballPoint, defaultNoise } from './noise';
import { paddedDimensions, StructuredRotation } from './structured-rotation';

/** How many shard keys a collection has: `b00` … `b63`. Fixed, because a user's points are looked for in the one that its key names. */
export const shardKeys = 64;

/** Where the points of one user, space and key version lie in Qdrant. Both are made from the user's key: nobody without it can tell whose they are. */
export interface Whereabouts {
  /** The payload that every query and deletion filters by. A UUID in form, so that Qdrant's index of it takes 16 bytes. */
  readonly tag: string;
  readonly shardKey: string;
}

export const derive = (key: Secret<Buffer>, what: string, space: string): Secret<Buffer> => deriveSubkey(key, ['qdrant/1', what, space]);

/** `key`: the user's subkey `memory.vectors`. */
export function whereabouts(key: Secret<Buffer>, space: string): Whereabouts {
  const mac = (what: string): Buffer => {
    const subkey = derive(key, what, space);
    const made = createHmac('sha256', subkey.expose()).update(what).digest();
    wipe(subkey.expose());
    return made;
  };
  return { tag: asUuid(mac('tag')), shardKey: `b${String(mac('shard').readUInt32LE() % shardKeys).padStart(2, '0')}` };
}

/** 16 bytes in the form of a random UUID (RFC 9562, version 4): six of its bits say so. */
export function asUuid(bytes: Buffer): string {
  assert(bytes.length >= 16, 'a UUID has 16 bytes');
  const copy = Buffer.from(bytes.subarray(0, 16));
  copy[6] = ((copy[6] ?? 0) & 0x0f) | 0x40;
  copy[8] = ((copy[8] ?? 0) & 0x3f) | 0x80;
  return uuidText(copy);
}

/** 16 bytes as the text of a UUID, as they are. */
export function uuidText(bytes: Buffer): string {
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/**
 * What is done to the vectors of one user, space and key version before Qdrant sees them: filled up with zeros, rotated, disturbed, multiplied by a number from the key in [½, 2).
 * This *obfuscates*; it does not encrypt: within one user the store learns who is near to whom, how many there are and when they came, and whoever knows some texts and
 * their points can undo it (`./alcove bench vector-privacy`). What it gives: users cannot be compared with each other, nor with plain vectors, by the store alone.
 */
export class VectorCloak {
  readonly #rotation: StructuredRotation;
  readonly #noise: UniformNumbers;
  readonly #scale: number;

  /** `key`: the user's subkey `memory.vectors`. `random`: cryptographic, but in experiments. */
  constructor(
    key: Secret<Buffer>,
    space: string,
    dimensions: number,
    random: Random,
    private readonly radius: number = defaultNoise,
  ) {
    const subkey = derive(key, 'rotation', `${space}/${dimensions}`);
    const numbers = keyedNumbers(subkey);
    this.#rotation = new StructuredRotation(paddedDimensions(dimensions), numbers);
    this.#scale = 0.5 + (1.5 * numbers.u32()) / 2 ** 32;
    numbers.wipe();
    wipe(subkey.expose());
    this.#noise = randomNumbers(random);
  }

  get size(): number {
    return this.#rotation.size;
  }

  /** What the dot product of a cloaked query and a cloaked vector must be multiplied by to be a cosine, but for the noise. */
  get cosinePerDot(): number {
    return 1 / this.#scale ** 2;
  }

  /**
   * The standard deviation of what both noises add to a cosine. A point of the ball of radius r in n dimensions has the variance r²/(n + 2) along any line; there are one of the
   * query's along the vector, one of the vector's along the query, and their product.
   */
  get deviation(): number {
    const square = this.radius ** 2;
    return Math.sqrt((2 * square + square ** 2) / (this.size + 2));
  }

  /** A document's vector or a query's; another one each time. */
  cloak(vector: Float32Array): Float32Array {
    const image = this.#rotation.apply(vector);
    const noise = ballPoint(image.length, this.radius, this.#noise);
    return Float32Array.from(image, (value, index) => this.#scale * (value + (noise[index] ?? 0)));
  }

  /** After use: the key's rotation is overwritten. */
  wipe(): void {
    this.#rotation.wipe();
    this.#noise.wipe();
  }
}
