import { limits, newUuid, Secret } from '@alcove/base';
import { QdrantPoints } from '@alcove/memory';
import { unitVectors } from './vector-index-contract';

/** A Qdrant server, real or not, and whether it is a cluster. */
export interface QdrantUnderTest {
  readonly url: string;
  readonly apiKey: string | null;
  close(): Promise<void>;
}

const size = 48;

/** What libs/memory relies on of a Qdrant server. It makes collections of its own there, and removes their points but not the collections. */
export function describeQdrant(name: string, open: () => Promise<QdrantUnderTest>): void {
  describe(`Qdrant (${name})`, () => {
    let server: QdrantUnderTest;
    let points: QdrantPoints;
    const collection = `alcove_test_${newUuid()}`;
    const vectors = unitVectors(1200, 5, size);
    const ids = vectors.map(() => newUuid());
    const place = (shard = 3) => ({ collection, tag: newUuid(), shardKey: `b0${shard}` });
    const point = (index: number) => ({ id: ids[index] ?? '', vector: Array.from(vectors[index] ?? []), version: 1 });
    const put = async (where: ReturnType<typeof place>, from: number, to: number): Promise<void> => {
      for (let at = from; at < to; at += limits.memory.qdrantPoints) await points.upsert(where, Array.from({ length: Math.min(to, at + limits.memory.qdrantPoints) - at }, (_, index) => point(at + index)));
    };
    const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => Array.from(a).reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0);

    beforeAll(async () => {
      server = await open();
      points = another();
      await points.ready(collection, size);
    });
    afterAll(() => server.close());
    const another = () => new QdrantPoints({ url: server.url, apiKey: server.apiKey === null ? null : new Secret(server.apiKey) });
    /** As a caller who knows the API but not this house's rules. */
    const raw = (method: string, path: string, body?: object): Promise<Response> =>
      fetch(`${server.url}/collections/${collection}${path}`, { method, headers: { 'content-type': 'application/json', ...(server.apiKey === null ? {} : { 'api-key': server.apiKey }) }, ...(body && { body: JSON.stringify(body) }) });

    it('takes a collection that is there already, and refuses one of another size', async () => {
      await another().ready(collection, size);
      await expect(another().ready(collection, size * 2)).rejects.toMatchObject({ code: 'memory.index' });
    });

    it('finds the nearest of one place exactly, the nearest first, and no more than are there', async () => {
      const [here, beside] = [place(), place()];
      await put(here, 0, 700);
      await put(beside, 700, 800);
      for (const query of unitVectors(5, 9, size)) {
        const exact = vectors.slice(0, 700).map((vector, index) => ({ id: ids[index], score: dot(query, vector) })).sort((a, b) => b.score - a.score).slice(0, 60);
        const found = await points.nearest(here, Array.from(query), 60);
        expect(found.map(({ id }) => id)).toEqual(exact.map(({ id }) => id));
        found.forEach(({ score }, index) => expect(score).toBeCloseTo(exact[index]?.score ?? NaN, 4));
      }
      expect(await points.nearest(beside, Array.from(vectors[0] ?? []), limits.memory.fetchedAtMost)).toHaveLength(100);
      await points.removeAll(here);
      await points.removeAll(beside);
    });

    it('replaces a point of the same name', async () => {
      const here = place();
      await put(here, 0, 2);
      await points.upsert(here, [{ ...point(0), vector: point(1).vector, version: 2 }]);
      const found = await points.nearest(here, point(1).vector, 10);
      expect(found).toHaveLength(2);
      expect(found[0]?.score).toBeCloseTo(found[1]?.score ?? NaN, 5);
      await points.removeAll(here);
    });

    it('tells every name once, over several pages, and how many there are', async () => {
      const here = place(7);
      await put(here, 0, 1200);
      const names: string[] = [];
      for await (const page of points.names(here)) names.push(...page);
      expect(names.sort()).toEqual([...ids].sort());
      expect(await points.count(here)).toBe(1200);
      await points.remove(here, ids.slice(0, 300));
      await points.remove(here, [newUuid()]);
      expect(await points.count(here)).toBe(900);
      await points.removeAll(here);
      expect(await points.count(here)).toBe(0);
    });

    it('removes all of one place and of no other', async () => {
      const [here, beside] = [place(1), place(1)];
      await put(here, 0, 10);
      await put(beside, 10, 15);
      await points.removeAll(here);
      await points.removeAll(here);
      expect([await points.count(here), await points.count(beside)]).toEqual([0, 5]);
      await points.removeAll(beside);
    });

    it('holds nothing in a collection that is not there', async () => {
      const nowhere = { ...place(), collection: `alcove_test_${newUuid()}` };
      expect(await points.count(nowhere)).toBe(0);
      await points.removeAll(nowhere);
      expect(await points.nearest(nowhere, point(0).vector, 5)).toEqual([]);
    });

    it('refuses vectors of another size, filters without an index, and limits above the bound', async () => {
      const here = place();
      await expect(points.upsert(here, [{ ...point(0), vector: [1, 2, 3] }])).rejects.toMatchObject({ code: 'memory.index' });
      await expect(points.nearest(here, [1, 2, 3], 5)).rejects.toMatchObject({ code: 'memory.index' });
      await expect(points.nearest(here, point(0).vector, limits.memory.fetchedAtMost + 1)).rejects.toMatchObject({ code: 'memory.index' });
      const info = (await (await raw('GET', '')).json()) as { result: { config: { params: { sharding_method?: string } } } };
      const sharded = info.result.config.params.sharding_method === 'custom';
      const filter = { must: [{ key: 'v', match: { value: newUuid() } }] };
      const answer = await raw('POST', '/points/count', { filter, exact: true, ...(sharded && { shard_key: 'b03' }) });
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(answer.status).toBeLessThan(500);
    });
  });
}
