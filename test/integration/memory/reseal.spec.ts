import { randomBytes } from 'node:crypto';
import { Secret } from '@alcove/base';
import { SetMemoryPolicy } from '@alcove/contracts';
import { type MemoryCaller, type MemoryKeys, MemoryService, QdrantPoints } from '@alcove/memory';
import { EmbeddingsEmulator, QdrantEmulator } from '@alcove/testing';
import { deriveSubkey } from '@alcove/vault';
import { asOwner } from '../db/database';
import { aSource, fact, memoryRig, type MemoryRig, operator, problem } from './rig';

/** A user's key that has versions, the last of which is current; those that were taken away are gone. */
class Versions implements MemoryKeys {
  readonly versions = new Map<number, Secret<Buffer>>([[1, new Secret(randomBytes(32))]]);

  rotate(): void {
    this.versions.set(this.versions.size + 1, new Secret(randomBytes(32)));
  }

  async withUserKeys<T>(_owner: unknown, _tx: unknown, use: Parameters<MemoryKeys['withUserKeys']>[2]): Promise<T> {
    const current = Math.max(...this.versions.keys());
    return use({
      current,
      subkey: (purpose, version = current) => {
        const key = this.versions.get(version);
        if (!key) throw Object.assign(new Error('no such version'), { code: 'vault.corrupt' });
        return deriveSubkey(key, ['user', purpose]);
      },
    }) as T;
  }
}

let rig: MemoryRig;
beforeAll(async () => {
  rig = await memoryRig();
});
afterAll(() => rig.close());

it('seals everything again under the current version, part by part, and needs the old one no more', async () => {
  const keys = new Versions();
  const [memory, other] = [rig.service({ keys }), rig.service({ keys })];
  const ann: MemoryCaller = await rig.caller();
  const { memory: made } = await memory.add(ann, fact('one tea'), { idempotencyKey: 'k' });
  await memory.change(ann, made.id, 1, { content: 'green tea' });
  for (let n = 0; n < 140; n++) await memory.add(ann, fact(`entry ${n}`));
  await memory.addEvent(ann, { session: 's', role: 'user', content: 'hello', source: aSource('user') });
  expect((await other.search(ann, { query: 'tea', k: 5 })).hits).toHaveLength(1);
  keys.rotate();
  // Both versions side by side, before anything is sealed again.
  await memory.add(ann, fact('black tea'));
  expect((await other.search(ann, { query: 'tea', k: 5 })).hits).toHaveLength(2);
  expect((await memory.usage(ann)).keyVersion).toBe(1);
  const reseal = memory.reseal();
  let parts = 0;
  for (let over = false; !over; parts += 1) over = (await reseal.reseal(ann)).over;
  expect(parts).toBeGreaterThanOrEqual(2);
  keys.versions.delete(1);
  for (const service of [memory, other, rig.service({ keys })]) {
    expect((await service.search(ann, { query: 'tea', k: 5 })).hits.map(({ memory: { content } }) => content).sort()).toEqual(['black tea', 'green tea']);
    expect((await service.history(ann, made.id)).versions).toHaveLength(2);
    expect((await service.events(ann, { limit: 5, session: 's' })).events).toHaveLength(1);
  }
  expect((await memory.usage(ann)).keyVersion).toBe(2);
  await memory.remove(ann, made.id, 'erase');
  expect(await problem(other.get(ann, made.id))).toBe('memory.not_found');
  for (const table of ['memory_record', 'memory_version', 'memory_event', 'memory_segment', 'memory_head']) expect(await asOwner(`select 1 from ${table} where tenant_id = $1 and key_version = 1`, [ann.tenantId])).toEqual([]);
}, 60_000);

it('moves what lies in Qdrant to other names, places and rotations', async () => {
  const [keys, qdrant, embeddings] = [new Versions(), await QdrantEmulator.start(), new EmbeddingsEmulator([['tea'], ['coffee']])];
  try {
    const memory = rig.service({ keys, qdrant: new QdrantPoints({ url: qdrant.url, apiKey: null }) });
    const ann: MemoryCaller = await rig.caller();
    await memory.setPolicy(operator, ann.tenantId, SetMemoryPolicy.parse({ embeddings: { baseUrl: await embeddings.listen(), model: 'm' }, index: 'qdrant' }));
    await memory.addMany(ann, Array.from({ length: 20 }, (_, n) => fact(n % 2 === 0 ? `tea ${n}` : `coffee ${n}`)));
    await memory.runIndexing(ann);
    const before = qdrant.points();
    expect((await memory.search(ann, { query: 'tea', k: 5, mode: 'semantic' })).index).toBe('qdrant');
    keys.rotate();
    const reseal = memory.reseal();
    for (let over = false; !over; ) over = (await reseal.reseal(ann)).over;
    keys.versions.delete(1);
    expect(await memory.search(ann, { query: 'tea', k: 5, mode: 'semantic' })).toMatchObject({ index: 'sealed', fallback: 'memory.index' });
    await memory.runIndexing(ann);
    const after = qdrant.points();
    const tags = (points: typeof after) => [...new Set(points.map(({ payload }) => payload['u']))];
    expect([before.length, after.length, tags(before).length, tags(after).length]).toEqual([20, 20, 1, 1]);
    expect(tags(after)).not.toEqual(tags(before));
    expect(after.filter(({ id }) => before.some((one) => one.id === id))).toEqual([]);
    expect(await memory.search(ann, { query: 'tea', k: 5, mode: 'semantic' })).toMatchObject({ index: 'qdrant', hits: Array(5).fill({ memory: { content: expect.stringMatching(/^tea /) } }) });
  } finally {
    await qdrant.close();
    await embeddings.close();
  }
});
