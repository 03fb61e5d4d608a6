import { assert } from '@alcove/base';
import type { UniformNumbers } from './key-stream';

/** On vectors of length 1. At 0.2 an over-fetch of 50 and an exact rerank give back what the noise takes (`./alcove bench vector-privacy`). */
export const defaultNoise = 0.2;

/**
 * A point of the ball of this radius, uniformly: a direction of normal numbers (Marsaglia and Bray's polar method), times radius · U^(1/n). The "perturb" of
 * scale-and-perturb (Fuchsbauer, Ghosal, Hauke and O'Neill 2022, "Approximate Distance-Comparison-Preserving Symmetric Encryption").
 */
export function ballPoint(dimensions: number, radius: number, numbers: UniformNumbers): Float64Array {
  assert(radius >= 0 && radius <= 4, 'noise has a radius of 0 to 4');
  const point = new Float64Array(dimensions);
  if (radius === 0) return point;
  let square = 0;
  for (let i = 0; i < dimensions; i += 2) {
    const [a, b] = normalPair(numbers);
    point[i] = a;
    square += a * a;
    if (i + 1 === dimensions) break;
    point[i + 1] = b;
    square += b * b;
  }
  const uniform = (numbers.u32() + 0.5) / 2 ** 32;
  const scale = (radius * Math.pow(uniform, 1 / dimensions)) / Math.sqrt(square);
  for (let i = 0; i < dimensions; i++) point[i] = (point[i] ?? 0) * scale;
  return point;
}

function normalPair(numbers: UniformNumbers): [number, number] {
  for (;;) {
    const [x, y] = [numbers.signed(), numbers.signed()];
    const square = x * x + y * y;
    if (square >= 1 || square === 0) continue;
    const scale = Math.sqrt((-2 * Math.log(square)) / square);
    return [x * scale, y * scale];
  }
}
