import { seededRandom } from '@alcove/base';
import fc from 'fast-check';
import { scanModule } from './scan-module';
import { wasm } from './wasm';
import { blockVectors, exactDot, VectorMemory } from './vector-memory';

const seed = 20261126;

function unit(dimensions: number, below: (n: number) => number): Float32Array {
  const vector = Float32Array.from({ length: dimensions }, () => below(2_000_001) / 1_000_000 - 1);
  const norm = Math.sqrt(exactDot(vector, vector)) || 1;
  return vector.map((value) => value / norm);
}
const bytesOf = (vector: Float32Array): Uint8Array => new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength);

function scores(memory: VectorMemory, query: Float32Array, count: number): number[] {
  const all: number[] = [];
  memory.scan(query, count, (block, first) => {
    expect(first).toBe(all.length);
    all.push(...block);
  });
  return all;
}

it('is a module that this machine takes', () => {
  expect(wasm.validate(scanModule)).toBe(true);
  expect(scanModule.length).toBeLessThan(400);
});

it('scores within its tolerance, with and without SIMD, for any dimensions', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 900 }), fc.integer({ min: 1, max: 40 }), fc.integer(), (dimensions, count, salt) => {
      const random = seededRandom(salt);
      const below = (n: number): number => random.below(n);
      const vectors = Array.from({ length: count }, () => unit(dimensions, below));
      const query = unit(dimensions, below);
      for (const simd of [true, false]) {
        const memory = new VectorMemory(dimensions, { simd });
        vectors.forEach((vector, slot) => memory.write(slot, bytesOf(vector), 0));
        scores(memory, query, count).forEach((score, slot) => expect(Math.abs(score - exactDot(query, vectors[slot] ?? query))).toBeLessThanOrEqual(memory.tolerance));
        expect([...memory.vector(0)]).toEqual([...(vectors[0] ?? [])]);
      }
    }),
    { seed, numRuns: 40 },
  );
});

it('goes over more than one block, and leaves nothing once wiped', () => {
  const memory = new VectorMemory(3);
  const count = blockVectors * 2 + 5;
  for (let slot = 0; slot < count; slot++) memory.write(slot, bytesOf(Float32Array.of(slot, 1, 0)), 0);
  expect(scores(memory, Float32Array.of(1, 0, 0), count)).toEqual(Array.from({ length: count }, (_, slot) => slot));
  memory.clear(7);
  expect([...memory.vector(7)]).toEqual([0, 0, 0]);
  memory.wipe();
  expect(scores(memory, Float32Array.of(1, 1, 1), count).every((score) => score === 0)).toBe(true);
});
