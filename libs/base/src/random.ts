import { randomBytes, randomInt } from 'node:crypto';

/** The only source of randomness that the simulator replaces. Keys and nonces never come from here: `vault` draws those from node:crypto itself. */
export interface Random {
  /** n random bytes. */
  bytes(n: number): Buffer;
  /** A uniform integer in [0, below). */
  below(below: number): number;
}

export const systemRandom: Random = { bytes: (n) => randomBytes(n), below: (n) => randomInt(n) };

/** Deterministic generator for tests and the simulator (xorshift128+, Vigna 2014). Never for anything secret. */
export function seededRandom(seed: number): Random {
  let a = BigInt.asUintN(64, BigInt(seed) * 0x9e3779b97f4a7c15n + 1n);
  let b = BigInt.asUintN(64, a ^ 0xbf58476d1ce4e5b9n);
  const next = (): bigint => {
    let x = a;
    const y = b;
    a = y;
    x = BigInt.asUintN(64, x ^ (x << 23n));
    b = x ^ y ^ (x >> 17n) ^ (y >> 26n);
    return BigInt.asUintN(64, b + y);
  };
  return {
    bytes: (n) => Buffer.from(Array.from({ length: n }, () => Number(next() & 0xffn))),
    below: (n) => Number((next() >> 11n) % BigInt(n)),
  };
}
