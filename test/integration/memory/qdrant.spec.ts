import { randomBytes } from 'node:crypto';
import { type MemoryHits, type SearchMemory, SetMemoryPolicy } from '@alcove/contracts';
import { needles } from '../../canary';
import { asOwner, until } from '../db/database';
import { newProcess, Shelf } from '../keys/erasure-world';
import { QdrantRig, topic } from './qdrant-rig';
import { fact, operator, problem } from './rig';

const on = new QdrantRig();
beforeAll(() => on.open());
beforeEach(() => on.renew());
afterEach(() => on.qdrant.close());
afterAll(() => on.close());

const search = (query: string, with_: Partial<SearchMemory> = {}, by = on.memory): Promise<MemoryHits> => by.search(on.ann, { query, k: 10, mode: 'semantic', ...with_ });
const found = ({ hits }: MemoryHits) => hits.map(({ score, memory: { id } }) => ({ id, score }));
/** What both give: the same records with the same scores, one by each index. */
async function expectSame(query: string, with_: Partial<SearchMemory> = {}): Promise<void> {
  const [far, near] = [await search(query, with_), await search(query, with_, on.sealed)];
  expect(far).toMatchObject({ index: 'qdrant', leakage: 'similarity structure', fallback: null });
  expect(near).toMatchObject({ index: 'sealed', leakage: 'none', fallback: 'memory.index' });
  expect(found(far)).toEqual(found(near));
}
const fallenBack = { index: 'sealed', leakage: 'none', fallback: 'memory.index', mode: 'semantic' };

it('answers by the sealed index until Qdrant holds all, then by Qdrant, with the same hits', async () => {
  await on.fill(300);
  const before = await search('topic03');
  expect(before).toMatchObject(fallenBack);
  expect(on.qdrant.points()).toHaveLength(0);
  await on.work();
  expect(on.qdrant.points()).toHaveLength(300);
  for (let n = 0; n < 12; n++) await expectSame(`${topic(n * 5)} ${topic(n * 3)}`);
  await expectSame('topic03 topic08', { mode: 'hybrid', k: 5 });
  expect(found(await search('topic03'))).toEqual(found(before));
  // One more write, and it is behind again.
  await on.fill(1, 300);
  expect(await search('topic03')).toMatchObject(fallenBack);
  await on.work();
  await expectSame('topic03');
});

it('asks for more where many are refused, and lets the sealed index answer where that would be too many', async () => {
  await on.fill(1300);
  await on.work();
  await expectSame('topic05 topic10', { tags: ['fifth'], k: 20 });
  const [odd] = await on.memory.addMany(on.ann, [fact('topic31 the only one of its kind', { tags: ['rare'] })]);
  await on.work();
  const rare = await search('topic02', { tags: ['rare'] });
  expect(rare).toMatchObject(fallenBack);
  expect(rare.hits.map(({ memory: { id } }) => id)).toEqual([odd?.id]);
}, 60_000);

it('names nothing in a point: no text, no user, no number of a vector', async () => {
  const canary = `canary${randomBytes(6).toString('hex')}`;
  const { memory: made } = await on.memory.add(on.ann, fact(`topic04 ${canary}`, { tags: [canary] }));
  await on.fill(20);
  await on.work();
  await search(`topic04 ${canary}`);
  const wire = on.qdrant.http.requests.map(({ path, body }) => `${path}\n${body}`).join('\n') + JSON.stringify(on.qdrant.points());
  for (const word of [canary, `"${on.ann.userId}"`, on.ann.tenantId, made.id, made.id.slice(4)]) for (const needle of needles(word)) expect({ needle, found: wire.includes(needle) }).toEqual({ needle, found: false });
  const plain = on.embeddings.vectorOf(made.content + canary);
  const norm = Math.hypot(...plain);
  for (const { payload, vector } of on.qdrant.points()) {
    expect(Object.keys(payload).sort()).toEqual(['u', 'v']);
    // Neither in this order nor in another.
    const unit = plain.map((value) => Math.fround(value / norm));
    expect([...vector].filter((value) => unit.includes(value))).toEqual([]);
  }
});

it('lets a point go with its record, whether retired, erased or changed, and before and after entries are put together', async () => {
  const ids = await on.fill(150);
  await on.work();
  await on.memory.remove(on.ann, ids[0] ?? '', 'erase');
  await on.memory.remove(on.ann, ids[1] ?? '', 'retire');
  await on.memory.change(on.ann, ids[2] ?? '', 1, { content: 'topic09 topic09' });
  expect(await search('topic09')).toMatchObject(fallenBack);
  await on.work();
  expect(on.qdrant.points()).toHaveLength(148);
  await expectSame('topic09');
  // So many that the marks of removed ones are gone before the job looks.
  for (const id of ids.slice(3, 40)) await on.memory.remove(on.ann, id, 'erase');
  await on.fill(200, 400);
  await on.work();
  expect(on.qdrant.points()).toHaveLength(311);
  await expectSame('topic09');
});

it('keeps users apart', async () => {
  const bob = { ...on.ann, userId: 'bob' };
  await on.fill(10);
  await on.memory.addMany(bob, [fact('topic01 of bob')]);
  await on.work();
  expect(new Set(on.qdrant.points().map(({ payload }) => payload['u'])).size).toBe(2);
  expect((await on.memory.search(bob, { query: 'topic01', k: 10, mode: 'semantic' })).hits.map(({ memory: { content } }) => content)).toEqual(['topic01 of bob']);
});

it.each([['refuses', 'before'], ['answers by an error', 'after']] as const)('lets the sealed index answer while Qdrant %s', async (_, fault) => {
  await on.fill(60);
  await on.work();
  on.qdrant.fault = () => fault;
  const answer = await search('topic03');
  expect(answer).toMatchObject(fallenBack);
  expect(found(answer)).toEqual(found(await search('topic03', {}, on.sealed)));
  on.qdrant.fault = () => null;
  // Nobody waits for it again at once.
  on.qdrant.calls = 0;
  expect([(await search('topic03')).index, on.qdrant.calls]).toEqual(['sealed', 0]);
  on.clock.advance(5_001);
  await expectSame('topic03');
});

it('does not wait for long for a server that does not answer', async () => {
  await on.fill(8);
  await on.work();
  on.qdrant.http.answerNext({ status: 200, silent: true });
  expect(await search('topic03')).toMatchObject(fallenBack);
});

it('notices that Qdrant has lost points, or all, and sends them again from the database', async () => {
  await on.fill(40);
  await on.work();
  on.qdrant.losePoints(3);
  expect(await search('topic03')).toMatchObject(fallenBack);
  expect(await on.work()).toBe(1);
  await expectSame('topic03');
  on.qdrant.forget();
  expect(await search('topic03')).toMatchObject(fallenBack);
  await on.work(on.service());
  expect(on.qdrant.points()).toHaveLength(40);
  await expectSame('topic03');
  // One who has never been told: what was lost is found by the number of points at the next write.
  on.qdrant.forget();
  await on.fill(1, 40);
  await on.work();
  expect(on.qdrant.points()).toHaveLength(41);
});

it('is refused as a policy where no server is configured', async () => {
  const set = on.sealed.setPolicy(operator, on.ann.tenantId, SetMemoryPolicy.parse({ embeddings: null, index: 'qdrant' }));
  await expect(set).rejects.toMatchObject({ code: 'request.invalid', errors: [{ path: 'body.index', message: expect.stringContaining('ALCOVE_QDRANT_URL') }] });
});

it('takes the points away when the policy goes back, and moves them when the endpoint changes', async () => {
  await on.fill(30);
  await on.work();
  await on.policy('qdrant', 'm-2');
  await on.work();
  const collections = new Set(on.qdrant.points().map(({ collection }) => collection));
  expect([collections.size, on.qdrant.points().length]).toEqual([1, 30]);
  await expectSame('topic03');
  await on.policy('sealed', 'm-2');
  expect(await search('topic03')).toMatchObject({ index: 'sealed', leakage: 'none', fallback: null });
  await on.work();
  expect([on.qdrant.points().length, await on.rows()]).toEqual([0, []]);
});

it('finds users who are behind though their job was lost', async () => {
  await on.fill(5);
  await asOwner('delete from outbox where tenant_id = $1', [on.ann.tenantId]);
  const reconciler = on.memory.reconcilers().find(({ name }) => name === 'memory.index');
  await reconciler?.run();
  expect(await on.work()).toBe(1);
  await expectSame('topic03');
  await reconciler?.run();
  expect(await on.work()).toBe(0);
  // A policy that went back while nobody worked.
  await on.policy('sealed');
  await asOwner('delete from outbox where tenant_id = $1', [on.ann.tenantId]);
  await reconciler?.run();
  expect(await on.work()).toBe(1);
  expect(on.qdrant.points()).toHaveLength(0);
});

it('waits for a process that was killed while it sent, and then sends again', async () => {
  await on.fill(5);
  await on.work();
  await on.fill(5, 5);
  await asOwner('update memory_qdrant set busy_until = $2 where tenant_id = $1', [on.ann.tenantId, new Date(on.clock.now() + 60_000)]);
  expect(await problem(on.memory.runIndexing(on.ann))).toBe('unavailable');
  on.clock.advance(61_000);
  await on.work();
  await expectSame('topic03');
});

describe('killed at every request', () => {
  it.each(['before', 'after'] as const)('of a filling, %s it is done: never a wrong answer, and all is there in the end', async (fault) => {
    for (let call = 0; ; call++) {
      on.qdrant.forget();
      on.memory = on.service();
      on.ann = await on.rig.caller();
      await on.policy('qdrant');
      const ids = await on.fill(12);
      on.qdrant.calls = 0;
      let hit = false;
      on.qdrant.fault = (n) => (n === call ? ((hit = true), fault) : null);
      // A new process each time: what it knew of the collection went with the one before.
      const first = await problem(on.service().runIndexing(on.ann));
      on.qdrant.fault = () => null;
      // Some of what is done though it was answered by an error is seen to be done.
      expect(hit ? (fault === 'before' ? ['memory.index'] : ['memory.index', 'no problem']) : ['no problem']).toContain(first);
      expect(found(await search('topic03'))).toEqual(found(await search('topic03', {}, on.sealed)));
      await on.memory.remove(on.ann, ids[3] ?? '', 'erase');
      await on.memory.runIndexing(on.ann);
      expect(on.qdrant.points()).toHaveLength(11);
      await expectSame('topic03');
      if (!hit) break;
    }
  }, 60_000);

  it('of making a cluster\'s shard keys: the next process makes the rest', async () => {
    await on.qdrant.close();
    await on.renew({ clustered: true });
    await on.fill(6);
    on.qdrant.fault = (call) => (call === 40 ? 'before' : null);
    expect(await problem(on.service().runIndexing(on.ann))).toBe('memory.index');
    on.qdrant.fault = () => null;
    await on.service().runIndexing(on.ann);
    await expectSame('topic03');
    expect(new Set(on.qdrant.points().map(({ shard }) => shard)).size).toBe(1);
  });
});

describe('erasure', () => {
  const purge = () => on.memory.erasePurge();
  const destroy = async (): Promise<void> => {
    await asOwner(`update app_user set state = 'destroying' where tenant_id = $1 and id = $2`, [on.ann.tenantId, on.ann.userId]);
    await on.rig.keyService.destroyUserKeys(on.ann);
  };

  it('takes all points before it is over, and names them', async () => {
    await on.fill(25);
    await on.work();
    await destroy();
    const inQdrant = { kind: 'vectors', id: expect.stringMatching(/^qdrant\/alcove_[0-9a-f]{32}\/[0-9a-f-]{36}$/), bytes: 25 * 48 * 4, sha256: null };
    expect(await purge().inventory(on.ann)).toContainEqual(inQdrant);
    const report = await purge().purge(on.ann);
    expect(report.over).toBe(true);
    expect(report.objects).toContainEqual(inQdrant);
    expect([on.qdrant.points().length, await on.rows()]).toEqual([0, []]);
    expect(await purge().purge(on.ann)).toEqual({ over: true, objects: [] });
    expect(await on.work()).toBe(0);
  });

  it('is not over while a process may still send, nor while Qdrant is away, nor where nobody knows of one', async () => {
    await on.fill(5);
    await on.work();
    await destroy();
    await asOwner('update memory_qdrant set busy_until = $2 where tenant_id = $1', [on.ann.tenantId, new Date(on.clock.now() + 60_000)]);
    expect((await purge().purge(on.ann)).over).toBe(false);
    on.clock.advance(61_000);
    on.qdrant.fault = () => 'before';
    expect((await purge().purge(on.ann)).over).toBe(false);
    expect((await on.sealed.erasePurge().purge(on.ann)).over).toBe(false);
    on.qdrant.fault = () => null;
    expect((await purge().purge(on.ann)).over).toBe(true);
    expect(on.qdrant.points()).toHaveLength(0);
  });

  it.each(['before', 'after'] as const)('ends without a point, though the server fails at every request of it, %s it is done', async (fault) => {
    for (let call = 0; ; call++) {
      on.ann = await on.rig.caller();
      await on.policy('qdrant');
      await on.fill(4);
      await on.work();
      await destroy();
      on.qdrant.calls = 0;
      let hit = false;
      on.qdrant.fault = (n) => (n === call ? ((hit = true), fault) : null);
      const first = await on.service().erasePurge().purge(on.ann);
      on.qdrant.fault = () => null;
      expect(first.over).toBe(!hit);
      expect((await purge().purge(on.ann)).over).toBe(true);
      expect([on.qdrant.points().length, await on.rows()]).toEqual([0, []]);
      if (!hit) break;
    }
  }, 60_000);

  it('ends with a receipt that names them, only after they are gone', async () => {
    await on.fill(9);
    await on.work();
    const shelf = new Shelf();
    const platform = newProcess({ db: on.rig.db, wraps: on.rig.keys.db, root: on.rig.keys.root, shelf }, { clock: on.clock });
    platform.erasures.register(purge());
    on.qdrant.fault = () => 'before';
    await platform.destroy(on.ann);
    expect(await platform.erasures.proceed(on.ann).catch(() => false)).toBe(false);
    expect((await platform.erasures.get(on.ann)).receipt).toBeNull();
    on.qdrant.fault = () => null;
    await until(() => {
      on.clock.advance(60_000);
      return platform.erasures.proceed(on.ann).catch(() => false);
    });
    expect(on.qdrant.points()).toHaveLength(0);
    expect(JSON.stringify((await platform.erasures.get(on.ann)).receipt)).toContain('"qdrant/alcove_');
  });

  it('stops whoever is sending meanwhile', async () => {
    await on.fill(5);
    let purged: Promise<{ over: boolean }> | undefined;
    on.qdrant.fault = (_, { path }) => {
      // Between the last look at the user and the points: the user is forgotten.
      if (path.includes('/points') && !path.includes('/count') && !purged) purged = destroy().then(() => purge().purge(on.ann));
      return null;
    };
    const sent = await problem(on.memory.runIndexing(on.ann));
    on.qdrant.fault = () => null;
    await purged;
    expect(['no problem', 'vault.key_unavailable']).toContain(sent);
    expect((await purge().purge(on.ann)).over).toBe(true);
    expect([on.qdrant.points().length, await on.rows()]).toEqual([0, []]);
  });
});
