import { assert } from '@alcove/base';
import type { UniformNumbers } from './key-stream';

const rounds = 3;

/** The least 3·2^k that is not less than this: what a space's vectors are filled up to with zeros. 384, 768, 1536 and 3072 stay as they are. */
export function paddedDimensions(dimensions: number): number {
  assert(Number.isInteger(dimensions) && dimensions >= 1 && dimensions <= 4096, 'a vector has 1 to 4096 dimensions');
  let padded = 3;
  while (padded < dimensions) padded *= 2;
  return padded;
}

interface Round {
  /** Where each number comes from, and its sign. */
  readonly from: Uint16Array;
  readonly sign: Float64Array;
  /** An orthogonal 3 × 3 matrix, row by row. */
  readonly mix: Float64Array;
}

/**
 * A keyed orthogonal map of 3·2^k dimensions: three rounds of a permutation, signs, and an orthogonal 3 × 3 matrix ⊗ the Hadamard matrix of 2^k, each drawn from the key (after
 * the "HD" products of Ailon and Chazelle 2006 and Andoni et al. 2015, here keyed). Dot products, lengths and distances stay what they were; a vector costs O(n log n).
 * It hides the axes and nothing else: whoever knows about as many pairs as there are dimensions has the map (orthogonal Procrustes), whatever the key's length.
 */
export class StructuredRotation {
  readonly #rounds: Round[];
  readonly #work: Float64Array;
  readonly #next: Float64Array;

  constructor(
    readonly size: number,
    numbers: UniformNumbers,
  ) {
    assert(paddedDimensions(size) === size, 'a rotation has 3·2^k dimensions');
    this.#rounds = Array.from({ length: rounds }, () => drawRound(size, numbers));
    this.#work = new Float64Array(size);
    this.#next = new Float64Array(size);
  }

  /** The image of a vector, which may be shorter: zeros are added. */
  apply(vector: Float32Array): Float64Array {
    assert(vector.length <= this.size, 'a vector fits its rotation');
    const { size } = this;
    let [now, next] = [this.#work, this.#next];
    now.fill(0);
    now.set(vector);
    for (const { from, sign, mix } of this.#rounds) {
      for (let i = 0; i < size; i++) next[i] = (now[from[i] ?? 0] ?? 0) * (sign[i] ?? 0);
      [now, next] = [next, now];
      const third = size / 3;
      for (let row = 0; row < 3; row++) hadamard(now, row * third, third);
      mixRows(now, third, mix);
    }
    const image = Float64Array.from(now);
    now.fill(0);
    next.fill(0);
    return image;
  }

  /** Overwrites what was drawn from the key; the rotation is of no use afterwards. */
  wipe(): void {
    for (const { from, sign, mix } of this.#rounds) for (const array of [from, sign, mix]) array.fill(0);
  }
}

function drawRound(size: number, numbers: UniformNumbers): Round {
  const from = Uint16Array.from({ length: size }, (_, index) => index);
  // Fisher and Yates, as Durstenfeld 1964.
  for (let last = size - 1; last > 0; last--) {
    const other = numbers.below(last + 1);
    [from[last], from[other]] = [from[other] ?? 0, from[last] ?? 0];
  }
  const sign = Float64Array.from({ length: size }, () => (numbers.below(2) === 0 ? 1 : -1));
  return { from, sign, mix: drawMix(numbers) };
}

/** A uniform rotation of three dimensions: the quaternion of a uniform point of the 3-sphere (a point of the ball by rejection, divided by its length). */
function drawMix(numbers: UniformNumbers): Float64Array {
  for (;;) {
    const [w, x, y, z] = [numbers.signed(), numbers.signed(), numbers.signed(), numbers.signed()];
    const square = w * w + x * x + y * y + z * z;
    if (square > 1 || square < 1e-6) continue;
    const s = 2 / square;
    return Float64Array.of(
      1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y),
      s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x),
      s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y),
    );
  }
}

/** The fast Walsh–Hadamard transform in place, divided by √length so that it is orthogonal. */
function hadamard(numbers: Float64Array, start: number, length: number): void {
  for (let half = 1; half < length; half *= 2) {
    for (let block = start; block < start + length; block += half * 2) {
      for (let i = block; i < block + half; i++) {
        const [a, b] = [numbers[i] ?? 0, numbers[i + half] ?? 0];
        numbers[i] = a + b;
        numbers[i + half] = a - b;
      }
    }
  }
  const scale = 1 / Math.sqrt(length);
  for (let i = start; i < start + length; i++) numbers[i] = (numbers[i] ?? 0) * scale;
}

function mixRows(numbers: Float64Array, third: number, mix: Float64Array): void {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0, k = 0] = mix;
  for (let i = 0; i < third; i++) {
    const [x, y, z] = [numbers[i] ?? 0, numbers[i + third] ?? 0, numbers[i + 2 * third] ?? 0];
    numbers[i] = a * x + b * y + c * z;
    numbers[i + third] = d * x + e * y + f * z;
    numbers[i + 2 * third] = g * x + h * y + k * z;
  }
}
