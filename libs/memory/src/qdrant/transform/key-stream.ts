import { createCipheriv } from 'node:crypto';
import type { Random, Secret } from '@alcove/base';

const block = 4096;

/** Uniform numbers from bytes. The same bytes give the same numbers on every machine: nothing but +, −, ×, ÷ and √, which IEEE 754 fixes to the last bit. */
export class UniformNumbers {
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;

  constructor(private readonly more: (n: number) => Buffer) {}

  u32(): number {
    if (this.#at === this.#bytes.length) {
      this.#bytes.fill(0);
      this.#bytes = this.more(block);
      this.#at = 0;
    }
    const value = this.#bytes.readUInt32LE(this.#at);
    this.#at += 4;
    return value;
  }

  /** In [0, bound), without bias (rejection), bound at most 2^32. */
  below(bound: number): number {
    const limit = 2 ** 32 - (2 ** 32 % bound);
    for (;;) {
      const value = this.u32();
      if (value < limit) return value % bound;
    }
  }

  /** In (−1, 1), never 0, in steps of 2^−32. */
  signed(): number {
    return (this.u32() * 2 + 1) / 2 ** 32 - 1;
  }

  wipe(): void {
    this.#bytes.fill(0);
  }
}

/** Numbers from a key: the key stream of AES-256 in counter mode from zero. A key is for one such stream only. */
export function keyedNumbers(key: Secret<Buffer>): UniformNumbers {
  const cipher = createCipheriv('aes-256-ctr', key.expose(), Buffer.alloc(16));
  return new UniformNumbers((n) => cipher.update(Buffer.alloc(n)));
}

/** Numbers from a source of randomness: for noise it must be a cryptographic one. */
export const randomNumbers = (random: Random): UniformNumbers => new UniformNumbers((n) => random.bytes(n));
