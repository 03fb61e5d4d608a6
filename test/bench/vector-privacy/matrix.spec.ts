import { seededRandom } from '@alcove/base';
import { ballPoint } from '../../../libs/memory/src/qdrant/transform/noise';
import { randomNumbers } from '../../../libs/memory/src/qdrant/transform/key-stream';
import { dot, Matrix, orthonormalise, polarFactor } from './matrix';

const numbers = randomNumbers(seededRandom(20261126));
const drawn = (rows: number, columns: number): Matrix => Matrix.ofRows(Array.from({ length: rows }, () => ballPoint(columns, 1, numbers)));

it('finds the orthogonal map between pairs (Procrustes), exactly once they span the space', () => {
  const size = 24;
  const map = drawn(size, size);
  orthonormalise(map);
  const known = drawn(size + 6, size);
  const images = known.times(map.transposed());
  const found = polarFactor(images.transposed().times(known));
  found.values.forEach((value, index) => expect(value).toBeCloseTo(map.values[index] ?? 0, 8));
});

it('finds it on the span of fewer pairs only', () => {
  const size = 24;
  const map = drawn(size, size);
  orthonormalise(map);
  const known = drawn(5, size);
  const found = polarFactor(known.times(map.transposed()).transposed().times(known));
  const inside = found.times(known.transposed());
  const truth = map.times(known.transposed());
  inside.values.forEach((value, index) => expect(value).toBeCloseTo(truth.values[index] ?? 0, 8));
  // Trace of a projection: its rank.
  expect(dot(found.values, found.values)).toBeCloseTo(5, 8);
});

it('makes rows orthonormal, those that depend on others zero', () => {
  const rows = drawn(4, 10);
  rows.row(3).set(rows.row(1));
  orthonormalise(rows);
  const gram = rows.times(rows.transposed());
  for (let i = 0; i < 4; i++) for (let j = 0; j < 4; j++) expect(gram.values[i * 4 + j]).toBeCloseTo(i === j && i !== 3 ? 1 : 0, 10);
});
