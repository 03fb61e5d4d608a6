import { createHash } from 'node:crypto';
import { newId, Secret, seededRandom, systemRandom } from '@alcove/base';
import fc from 'fast-check';
import { keyedNumbers, randomNumbers } from './key-stream';
import { ballPoint } from './noise';
import { PointIds } from './point-ids';
import { paddedDimensions, StructuredRotation } from './structured-rotation';
import { asUuid, shardKeys, VectorCloak, whereabouts } from './vector-cloak';

const seed = 20261126;
const keyOf = (byte: number): Secret<Buffer> => new Secret(Buffer.alloc(32, byte));
const space = '00112233445566778899aabbccddeeff';
const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => Array.from(a).reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0);
function unit(dimensions: number, start: number): Float32Array {
  const point = ballPoint(dimensions, 1, randomNumbers(seededRandom(start)));
  const norm = Math.sqrt(dot(point, point));
  return Float32Array.from(point, (value) => value / norm);
}
const digest = (numbers: Float64Array): string => createHash('sha256').update(numbers.map((value) => Math.round(value * 1e9))).digest('hex');

it('fills up to three times a power of two', () => {
  expect([1, 3, 4, 96, 97, 128, 384, 512, 768, 1000, 1024, 1536, 3072, 4096].map(paddedDimensions)).toEqual([3, 3, 6, 96, 192, 192, 384, 768, 768, 1536, 1536, 1536, 3072, 6144]);
  for (const wrong of [0, 4097, 1.5]) expect(() => paddedDimensions(wrong)).toThrow('dimensions');
});

it('rotates as it did on the first day: what is stored would be lost to it else', () => {
  const rotation = new StructuredRotation(12, keyedNumbers(keyOf(7)));
  expect(Array.from(rotation.apply(Float32Array.of(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)), (value) => value.toFixed(9))).toMatchInlineSnapshot(`
[
  "0.258718578",
  "0.282829962",
  "-0.047044601",
  "0.075661919",
  "0.129316858",
  "0.041823787",
  "-0.127031695",
  "-0.369597468",
  "-0.421092220",
  "-0.590615872",
  "-0.315452685",
  "-0.219696172",
]
`);
  expect(digest(new StructuredRotation(384, keyedNumbers(keyOf(7))).apply(Float32Array.from({ length: 384 }, (_, index) => index % 7 / 16)))).toMatchInlineSnapshot(`"35d8dd1ff1ca71e121317b601317847421ffc2aa1ef729939755825f29568298"`);
  expect(whereabouts(keyOf(7), space)).toMatchInlineSnapshot(`
{
  "shardKey": "b14",
  "tag": "6cc46ae6-48bd-4178-99c1-4a9c6d912f49",
}
`);
  expect(Array.from(new VectorCloak(keyOf(7), space, 6, systemRandom, 0).cloak(Float32Array.of(1, 0, 0, 0, 0, 0)), (value) => value.toFixed(6))).toMatchInlineSnapshot(`
[
  "0.420997",
  "-0.181109",
  "-0.541631",
  "0.496405",
  "-0.889910",
  "-0.114563",
]
`);
});

it('is orthogonal to 1e-6 for any key and size', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), fc.constantFrom(3, 6, 12, 96, 384), (bytes, size) => {
      const rotation = new StructuredRotation(size, keyedNumbers(new Secret(Buffer.from(bytes))));
      const images = Array.from({ length: size }, (_, axis) => rotation.apply(Float32Array.from({ length: size }, (__, index) => (index === axis ? 1 : 0))));
      for (let i = 0; i < size; i += Math.ceil(size / 12)) {
        images.forEach((image, j) => expect(Math.abs(dot(images[i] ?? [], image) - (i === j ? 1 : 0))).toBeLessThanOrEqual(1e-6));
      }
    }),
    { seed, numRuns: 20 },
  );
});

it('keeps dot products, whatever the dimensions before they are filled up', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 900 }), fc.integer({ min: 1, max: 1e6 }), (dimensions, start) => {
      const cloak = new VectorCloak(keyOf(1 + (start % 251)), space, dimensions, systemRandom, 0);
      const [a, b] = [unit(dimensions, start), unit(dimensions, start + 1)];
      const [ca, cb] = [cloak.cloak(a), cloak.cloak(b)];
      expect(ca.length).toBe(cloak.size);
      // Scaled by the same number for all of them.
      expect(dot(ca, cb) / dot(ca, ca)).toBeCloseTo(dot(a, b) / dot(a, a), 5);
    }),
    { seed, numRuns: 40 },
  );
});

it('gives the same user the same map, another user, space or number of dimensions an unrelated one', () => {
  const vector = unit(384, 3);
  const image = (key: number, where: string): Float32Array => new VectorCloak(keyOf(key), where, 384, systemRandom, 0).cloak(vector);
  const first = image(1, space);
  expect(image(1, space)).toEqual(first);
  const cosine = (other: Float32Array): number => dot(first, other) / Math.sqrt(dot(first, first) * dot(other, other));
  // Six standard deviations of a random direction's cosine.
  const related = 6 / Math.sqrt(384);
  const others = [image(2, space), image(1, `${space.slice(0, -1)}e`), vector, ...Array.from({ length: 40 }, (_, index) => image(3 + index, space))];
  for (const other of others) expect(Math.abs(cosine(other))).toBeLessThan(related);
});

it('spreads every axis over all others', () => {
  const rotation = new StructuredRotation(384, keyedNumbers(keyOf(9)));
  for (let axis = 0; axis < 384; axis += 16) {
    const image = rotation.apply(Float32Array.from({ length: 384 }, (_, index) => (index === axis ? 1 : 0)));
    expect(Math.max(...image.map(Math.abs))).toBeLessThan(0.35);
  }
});

it('disturbs within the ball, mostly near its surface, in no direction of its own, and never twice alike', () => {
  const numbers = randomNumbers(seededRandom(5));
  const mean = new Float64Array(96);
  for (let n = 0; n < 2000; n++) {
    const point = ballPoint(96, 0.2, numbers);
    const length = Math.sqrt(dot(point, point));
    expect(length).toBeLessThanOrEqual(0.2 + 1e-12);
    point.forEach((value, index) => (mean[index] = (mean[index] ?? 0) + value / 2000));
  }
  expect(Math.sqrt(dot(mean, mean))).toBeLessThan(0.02);
  // P(length ≤ x·r) = x^n: for n = 3 half of the points are within 0.794 r.
  const inside = Array.from({ length: 4000 }, () => ballPoint(3, 1, numbers)).filter((point) => dot(point, point) <= 0.5 ** (2 / 3)).length;
  expect(Math.abs(inside / 4000 - 0.5)).toBeLessThan(0.04);
  const cloak = new VectorCloak(keyOf(1), space, 384, systemRandom);
  expect(cloak.cloak(unit(384, 1))).not.toEqual(cloak.cloak(unit(384, 1)));
});

it('tells one place for a user and a space, spread over the 64 shard keys, that nothing of the user can be seen in', () => {
  const places = Array.from({ length: 255 }, (_, index) => whereabouts(keyOf(index + 1), space));
  expect(places[4]).toEqual(whereabouts(keyOf(5), space));
  expect(new Set(places.map(({ tag }) => tag)).size).toBe(255);
  expect(whereabouts(keyOf(5), 'ff').tag).not.toBe(places[4]?.tag);
  expect(places.every(({ tag, shardKey }) => /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(tag) && /^b[0-6]\d$/.test(shardKey))).toBe(true);
  const used = new Set(places.map(({ shardKey }) => shardKey));
  expect(used.size).toBeGreaterThan(shardKeys * 0.9);
  expect(asUuid(Buffer.alloc(16, 255))).toBe('ffffffff-ffff-4fff-bfff-ffffffffffff');
});

it('leaves nothing of a rotation once wiped', () => {
  const cloak = new VectorCloak(keyOf(1), space, 384, systemRandom, 0);
  cloak.wipe();
  expect(cloak.cloak(unit(384, 1)).every((value) => value === 0)).toBe(true);
});

it('says how far a cosine is off after both were disturbed', () => {
  const [a, b] = [unit(96, 5), unit(96, 6)];
  const cloak = new VectorCloak(keyOf(9), space, 96, systemRandom, 0.2);
  const errors = Array.from({ length: 2000 }, () => dot(cloak.cloak(a), cloak.cloak(b)) * cloak.cosinePerDot - dot(a, b));
  // Of 2000 draws the estimate is off by 1.6 % in one case of three.
  const measured = Math.sqrt(errors.reduce((sum, error) => sum + error ** 2, 0) / errors.length);
  expect(Math.abs(measured / cloak.deviation - 1)).toBeLessThan(0.15);
  expect(Math.max(...errors.map(Math.abs))).toBeLessThan(7 * cloak.deviation);
});

it('names points so that only the key reads the record from a name', () => {
  const ids = Array.from({ length: 300 }, () => newId('mem'));
  const names = new PointIds(keyOf(7), space);
  const made = ids.map((id) => names.of(id));
  expect(made.map((name) => names.recordOf(name))).toEqual(ids);
  expect(made.map((name) => new PointIds(keyOf(7), space).of(names.recordOf(name) ?? ''))).toEqual(made);
  expect(new Set(made).size).toBe(300);
  for (const other of [new PointIds(keyOf(8), space), new PointIds(keyOf(7), 'ff'.repeat(16))]) for (const name of made) expect(other.recordOf(name)).toBeNull();
  expect(names.of('mem_000102030405060708ff')).toMatchInlineSnapshot(`"83d59f39-4b2b-3ae5-af53-04f9d74161f7"`);
});
