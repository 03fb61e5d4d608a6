import { createCipheriv } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Random } from '@alcove/base';
import { randomNumbers, type UniformNumbers } from '../../../libs/memory/src/qdrant/transform/key-stream';
import { ballPoint } from '../../../libs/memory/src/qdrant/transform/noise';
import { Matrix, norm, orthonormalise, scale } from './matrix';

export const dimensions = 384;
export const corpusSize = 20_000;

/** Reproducible numbers, as fast as AES: for experiments only. */
export function experimentRandom(seed: number): Random {
  const key = Buffer.alloc(32);
  key.writeUInt32LE(seed);
  const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
  const bytes = (n: number): Buffer => cipher.update(Buffer.alloc(n));
  return { bytes, below: (bound) => randomNumbers({ bytes, below: () => 0 }).below(bound) };
}

function unitRows(rows: Matrix): Float32Array[] {
  const vectors: Float32Array[] = [];
  for (let i = 0; i < rows.rows; i++) {
    const row = rows.row(i);
    const length = norm(row);
    // What has no word that others have too has no direction.
    if (length < 1e-9) continue;
    scale(row, 1 / length);
    vectors.push(Float32Array.from(row));
  }
  return vectors;
}

/** Points around 200 centres, at about the distance from them that the centres have from the origin. */
export function clusters(numbers: UniformNumbers): Float32Array[] {
  const centres = Array.from({ length: 200 }, () => ballPoint(dimensions, 1, numbers));
  return unitRows(
    Matrix.ofRows(
      Array.from({ length: corpusSize }, () => {
        const centre = centres[numbers.below(200)] ?? new Float64Array(dimensions);
        const point = ballPoint(dimensions, 1, numbers);
        return point.map((value, index) => value + (centre[index] ?? 0));
      }),
    ),
  );
}

/** Paragraphs of the documentation in this checkout and its packages, in the order of their paths; each once. */
export function paragraphs(root: string): string[] {
  const found = new Set<string>();
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.md') && !path.startsWith('.') && !path.startsWith('dist/'));
  for (const path of files.sort()) {
    for (const block of readFileSync(join(root, path), 'utf8').replaceAll('\r', '').split(/\n\s*\n/)) {
      const text = block.replaceAll(/\s+/g, ' ').trim();
      if (text.length >= 80 && text.length <= 1500 && /[a-z]{3,} [a-z]{2,} /.test(text)) found.add(text);
      if (found.size === corpusSize) return [...found];
    }
  }
  return [...found];
}

interface Sparse {
  readonly at: Uint32Array;
  readonly weight: Float64Array;
}
const features = 4096;

/** tf-idf of words, hashed (FNV-1a) into 4096 places. */
function weigh(texts: readonly string[]): Sparse[] {
  const counts = texts.map((text) => {
    const count = new Map<number, number>();
    for (const [word] of text.toLowerCase().matchAll(/[\p{L}\d]{2,}/gu)) {
      let hash = 0x811c9dc5;
      for (let i = 0; i < word.length; i++) hash = Math.imul(hash ^ word.charCodeAt(i), 0x01000193) >>> 0;
      count.set(hash % features, (count.get(hash % features) ?? 0) + 1);
    }
    return count;
  });
  const inTexts = new Float64Array(features);
  for (const count of counts) for (const at of count.keys()) inTexts[at] = (inTexts[at] ?? 0) + 1;
  return counts.map((count) => {
    const at = Uint32Array.from(count.keys());
    const weight = Float64Array.from(count, ([place, times]) => (1 + Math.log(times)) * Math.log(texts.length / (inTexts[place] ?? 1)));
    scale(weight, 1 / (norm(weight) || 1));
    return { at, weight };
  });
}

/** Latent semantic analysis: tf-idf, projected on the 384 directions in which the texts differ most (subspace iteration). Stands for an embedder, of which none can be had offline. */
export function embedTexts(texts: readonly string[], numbers: UniformNumbers): Float32Array[] {
  const sparse = weigh(texts);
  // Transposed, so that a direction is a row: directions × features.
  let basis = Matrix.ofRows(Array.from({ length: dimensions }, () => ballPoint(features, 1, numbers)));
  orthonormalise(basis);
  for (let round = 0; round < 3; round++) {
    basis = backwards(sparse, project(sparse, basis));
    orthonormalise(basis);
  }
  return unitRows(project(sparse, basis));
}

/** texts × directions. */
function project(sparse: readonly Sparse[], basis: Matrix): Matrix {
  const byFeature = basis.transposed();
  const made = new Matrix(sparse.length, basis.rows);
  sparse.forEach(({ at, weight }, text) => at.forEach((place, index) => add(made.row(text), byFeature.row(place), weight[index] ?? 0)));
  return made;
}

/** directions × features: what the texts' projections say of each feature. */
function backwards(sparse: readonly Sparse[], projected: Matrix): Matrix {
  const made = new Matrix(features, projected.columns);
  sparse.forEach(({ at, weight }, text) => at.forEach((place, index) => add(made.row(place), projected.row(text), weight[index] ?? 0)));
  return made.transposed();
}

function add(into: Float64Array, from: Float64Array, factor: number): void {
  for (let i = 0; i < into.length; i++) into[i] = (into[i] ?? 0) + factor * (from[i] ?? 0);
}
