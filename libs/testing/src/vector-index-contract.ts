import { newId, newUuid, seededRandom } from '@alcove/base';
import type { KeyOwner } from '@alcove/keys';
import { exactDot, type IndexedVector, type IndexKind, type VectorHit, type VectorQuery } from '@alcove/memory';

/** An index as it is written and searched; each call sees what the ones before have written. */
export interface VectorIndexUnderTest {
  readonly kind: IndexKind;
  /** An owner that has nothing, in a tenant of its own. */
  owner(): Promise<KeyOwner>;
  /** Adds or replaces. Problem `request.invalid`: not the dimensions of what the space holds already. */
  upsert(owner: KeyOwner, space: string, vectors: readonly IndexedVector[]): Promise<void>;
  /** In every space. */
  remove(owner: KeyOwner, ids: readonly string[]): Promise<void>;
  search(owner: KeyOwner, space: string, query: VectorQuery): Promise<VectorHit[]>;
  /** All of a user; tells how many vectors. */
  dropUser(owner: KeyOwner): Promise<number>;
  close(): Promise<void>;
}

const dimensions = 48;

/** Vectors of length 1 in any direction, from a seed. */
export function unitVectors(count: number, seed: number, length = dimensions): Float32Array[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, () => {
    const vector = Float32Array.from({ length }, () => random.below(2_000_001) / 1_000_000 - 1);
    const norm = Math.sqrt(exactDot(vector, vector));
    return vector.map((value) => value / norm);
  });
}

/** The one suite that every index passes: the same calls give the same answers, whatever is behind them. */
export function describeVectorIndex(name: string, open: () => Promise<VectorIndexUnderTest>): void {
  describe(`VectorIndex (${name})`, () => {
    let under: VectorIndexUnderTest;
    let ann: KeyOwner;
    const space = 'a'.repeat(32);
    const vectors = unitVectors(600, 7);
    const ids = vectors.map(() => newId('mem'));
    const at = (index: number): Float32Array => vectors[index] ?? new Float32Array(dimensions);

    beforeAll(async () => {
      under = await open();
    });
    beforeEach(async () => {
      ann = await under.owner();
    });
    afterAll(() => under.close());

    const upsert = (from: number, to: number, owner = ann, into = space): Promise<void> =>
      under.upsert(owner, into, ids.slice(from, to).map((id, index) => ({ id, version: 1, vector: at(from + index) })));
    const search = (vector: Float32Array, k: number, owner = ann, into = space, accepts?: (id: string) => boolean): Promise<VectorHit[]> =>
      under.search(owner, into, { vector, k, ...(accepts && { accepts }) });
    const exact = (query: Float32Array, k: number, among: readonly number[]): VectorHit[] =>
      among.map((index) => ({ id: ids[index] ?? '', score: exactDot(query, at(index)) })).sort((a, b) => b.score - a.score).slice(0, k);
    const expectSame = (found: readonly VectorHit[], wanted: readonly VectorHit[]): void => {
      expect(found.map(({ id }) => id)).toEqual(wanted.map(({ id }) => id));
      found.forEach(({ score }, index) => expect(score).toBeCloseTo(wanted[index]?.score ?? NaN, 9));
    };
    const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, index) => from + index);

    it('says what it is', () => {
      expect([['sealed', 'none'], ['qdrant', 'similarity structure']]).toContainEqual([under.kind.index, under.kind.leakage]);
    });

    it('has nothing at first, and takes that nothing is removed', async () => {
      expect(await search(at(0), 5)).toEqual([]);
      await under.remove(ann, [ids[0] ?? '']);
      expect(await under.dropUser(ann)).toBe(0);
    });

    it('finds the nearest with their exact scores, however they came in', async () => {
      await upsert(0, 100);
      await upsert(100, 101);
      for (let from = 101; from < 600; from += 83) await upsert(from, Math.min(600, from + 83));
      for (const query of unitVectors(12, 11)) expectSame(await search(query, 10), exact(query, 10, range(0, 600)));
    });

    it('gives fewer where there are fewer', async () => {
      await upsert(0, 3);
      expectSame(await search(at(1), 10), exact(at(1), 10, range(0, 3)));
    });

    it('finds the nearest of those that are accepted', async () => {
      await upsert(0, 200);
      const accepted = new Set<string>(ids.slice(0, 200).filter((_, index) => index % 3 === 0));
      for (const query of unitVectors(4, 13)) expectSame(await search(query, 8, ann, space, (id) => accepted.has(id)), exact(query, 8, range(0, 200).filter((index) => index % 3 === 0)));
    });

    it('replaces a vector by one of a higher version, and by none of a lower', async () => {
      await upsert(0, 20);
      const put = (version: number, vector: Float32Array): Promise<void> => under.upsert(ann, space, [{ id: ids[0] ?? '', version, vector }]);
      await put(3, at(300));
      await put(2, at(301));
      expect((await search(at(300), 1))[0]).toMatchObject({ id: ids[0] });
      expect((await search(at(300), 1))[0]?.score).toBeCloseTo(1, 5);
      expect(await search(at(0), 20)).toHaveLength(20);
    });

    it('finds nothing that was removed', async () => {
      await upsert(0, 300);
      await under.remove(ann, ids.slice(50, 150));
      for (const query of [at(60), at(140), at(10)]) expectSame(await search(query, 10), exact(query, 10, [...range(0, 50), ...range(150, 300)]));
    });

    it('never lets users, tenants or spaces meet', async () => {
      const [bob, foreign] = [{ ...ann, userId: 'bob' }, await under.owner()];
      await upsert(0, 10);
      await upsert(10, 20, bob);
      await upsert(20, 30, foreign);
      await upsert(30, 40, ann, 'b'.repeat(32));
      for (const [owner, into, from] of [[ann, space, 0], [bob, space, 10], [foreign, space, 20], [ann, 'b'.repeat(32), 30]] as const) expectSame(await search(at(5), 40, owner, into), exact(at(5), 40, range(from, from + 10)));
      expect(await search(at(5), 40, { ...ann, tenantId: foreign.tenantId }, space)).toHaveLength(10);
      expect(await search(at(5), 5, { tenantId: ann.tenantId, userId: newUuid() })).toEqual([]);
    });

    it('refuses other dimensions than the space has', async () => {
      await upsert(0, 5);
      const wrong = unitVectors(1, 3, dimensions + 1)[0] ?? new Float32Array(1);
      await expect(under.upsert(ann, space, [{ id: ids[9] ?? '', version: 1, vector: wrong }])).rejects.toMatchObject({ code: 'request.invalid' });
      expect(await search(at(1), 10)).toHaveLength(5);
    });

    it('drops all of a user, and of nobody else', async () => {
      const bob = { ...ann, userId: 'bob' };
      await upsert(0, 30);
      await upsert(30, 35, ann, 'b'.repeat(32));
      await upsert(0, 4, bob);
      expect(await under.dropUser(ann)).toBe(35);
      expect(await search(at(1), 10)).toEqual([]);
      expect(await search(at(1), 10, bob)).toHaveLength(4);
      await upsert(5, 8);
      expectSame(await search(at(5), 10), exact(at(5), 10, range(5, 8)));
    });
  });
}
