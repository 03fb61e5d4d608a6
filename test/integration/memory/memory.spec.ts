import { limits } from '@alcove/base';
import type { MemoryCaller, MemoryService } from '@alcove/memory';
import { asOwner, testClock, type TestClock } from '../db/database';
import { aSource, fact, memoryRig, type MemoryRig, operator, problem } from './rig';

let rig: MemoryRig;
let clock: TestClock;
let memory: MemoryService;
let ann: MemoryCaller;

beforeAll(async () => {
  clock = testClock();
  rig = await memoryRig(clock);
});
beforeEach(async () => {
  memory = rig.service();
  ann = await rig.caller();
});
afterAll(() => rig.close());

const add = async (content: string, with_: Parameters<typeof fact>[1] = {}) => (await memory.add(ann, fact(content, with_))).memory;
const search = async (query: string, with_: object = {}, by = memory) => (await by.search(ann, { query, k: 10, ...with_ })).hits.map(({ memory: found }) => found.content);

describe('a record', () => {
  it('comes back as it was given, from any process', async () => {
    const made = await add('Ann is allergic to nuts', { title: 'Allergy', tags: ['health', 'food'], confidence: 0.9, validFrom: '2029-01-01T00:00:00.000Z' });
    expect(made).toMatchObject({ userId: 'ann', kind: 'fact', state: 'live', title: 'Allergy', tags: ['health', 'food'], confidence: 0.9, version: 1, validFrom: '2029-01-01T00:00:00.000Z', validTo: null });
    expect(await memory.get(ann, made.id)).toEqual(made);
    expect(await rig.service().get(ann, made.id)).toEqual(made);
    expect((await memory.list(ann, { limit: 10 })).memories).toEqual([made]);
  });

  it('is changed by its version only, and keeps what it was', async () => {
    const made = await add('Ann lives in Paris');
    clock.advance(1000);
    const changed = await memory.change(ann, made.id, 1, { content: 'Ann lives in Lyon' });
    expect(changed).toMatchObject({ version: 2, content: 'Ann lives in Lyon', createdAt: made.createdAt });
    expect(await problem(memory.change(ann, made.id, 1, { content: 'Rome' }))).toBe('memory.changed');
    expect((await memory.history(ann, made.id)).versions.map(({ version, content }) => [version, content])).toEqual([[2, 'Ann lives in Lyon'], [1, 'Ann lives in Paris']]);
    expect(await search('Paris')).toEqual([]);
    expect(await search('Lyon', {}, rig.service())).toEqual(['Ann lives in Lyon']);
  });

  it('is retired or erased', async () => {
    const [kept, gone] = [await add('tea is green'), await add('coffee is black')];
    expect(await memory.remove(ann, kept.id, 'retire')).toEqual({ mode: 'retire', ids: [kept.id] });
    expect(await memory.get(ann, kept.id)).toMatchObject({ state: 'retired', version: 2 });
    expect(await problem(memory.remove(ann, gone.id, 'erase', 7))).toBe('memory.changed');
    await memory.remove(ann, gone.id, 'erase', 1);
    expect(await problem(memory.get(ann, gone.id))).toBe('memory.not_found');
    expect(await search('tea coffee', {}, rig.service())).toEqual([]);
  });

  it('goes with the evidence that it was derived from, however far', async () => {
    const { event } = await memory.addEvent(ann, { session: 's', role: 'user', content: 'I moved', source: aSource('user') });
    const first = await add('Ann moved', { evidence: [event.id] });
    const second = await add('Ann has a new address', { evidence: [first.id] });
    const other = await add('Ann has a cat');
    const { ids } = await memory.removeEvent(ann, event.id);
    expect(new Set(ids)).toEqual(new Set([event.id, first.id, second.id]));
    expect((await memory.list(ann, { limit: 10 })).memories.map(({ id }) => id)).toEqual([other.id]);
    expect(await problem(memory.add(ann, fact('x', { evidence: [first.id] })))).toBe('request.invalid');
  });

  it('takes the place of another', async () => {
    const old = await add('Ann works at Acme');
    clock.advance(1);
    const next = await add('Ann works at Globex', { supersedes: old.id });
    expect(await search('where does Ann work: works')).toEqual(['Ann works at Globex']);
    expect(await memory.get(ann, old.id)).toMatchObject({ state: 'retired' });
    expect(next.supersedes).toBe(old.id);
  });

  it('is made once for one idempotency key', async () => {
    const once = await memory.add(ann, fact('once'), { idempotencyKey: 'k1' });
    expect(await rig.service().add(ann, fact('once'), { idempotencyKey: 'k1' })).toEqual({ memory: once.memory, repeated: true });
    expect(await problem(memory.add(ann, fact('twice'), { idempotencyKey: 'k1' }))).toBe('request.idempotency_reused');
    expect((await memory.add(ann, fact('once'), { idempotencyKey: 'k2' })).memory.id).not.toBe(once.memory.id);
    const event = { session: 's', role: 'user' as const, content: 'hello', source: aSource('user') };
    const said = await memory.addEvent(ann, event, { idempotencyKey: 'k1' });
    expect(await memory.addEvent(ann, event, { idempotencyKey: 'k1' })).toEqual({ event: said.event, repeated: true });
    expect(await problem(memory.addEvent(ann, { ...event, content: 'other' }, { idempotencyKey: 'k1' }))).toBe('request.idempotency_reused');
  });

  it('pages without loss, the newest first', async () => {
    for (let n = 0; n < 7; n++) {
      await add(`n${n}`);
      if (n % 2 === 0) clock.advance(1);
    }
    const seen: string[] = [];
    for (let cursor: string | undefined | null; cursor !== null; ) {
      const page = await memory.list(ann, { limit: 3, ...(cursor === undefined ? {} : { cursor }) });
      seen.push(...page.memories.map(({ content }) => content));
      cursor = page.nextCursor;
    }
    expect(new Set(seen)).toEqual(new Set(['n0', 'n1', 'n2', 'n3', 'n4', 'n5', 'n6']));
    expect(seen).toHaveLength(7);
    expect(await problem(memory.list(ann, { limit: 3, cursor: 'x' }))).toBe('request.invalid');
  });
});

describe('search', () => {
  it('says how it was made, and finds by words and their parts', async () => {
    await add('Ann is allergic to peanuts', { tags: ['health'] });
    await add('The flight to Lisbon leaves on Monday', { kind: 'episode' });
    const answer = await memory.search(ann, { query: 'peanut allergy', k: 5 });
    expect(answer).toMatchObject({ mode: 'lexical', index: 'sealed', leakage: 'none', space: null, fallback: null });
    expect(answer.hits[0]).toMatchObject({ score: 1, memory: { content: 'Ann is allergic to peanuts' } });
    expect(await memory.search(ann, { query: 'Lisbon', k: 5, mode: 'semantic' })).toMatchObject({ mode: 'lexical', fallback: 'unsupported' });
    expect(await search('Lisbon Ann', { kinds: ['episode'] })).toEqual(['The flight to Lisbon leaves on Monday']);
    expect(await search('Lisbon Ann', { tags: ['health'] })).toEqual(['Ann is allergic to peanuts']);
    expect(await search('Lisbon Ann', { tags: ['health', 'x'] })).toEqual([]);
  });

  it('asks for what was valid then, was written then, and is trusted that far', async () => {
    const day = (n: number): string => new Date(clock.now() + n * 24 * 3600_000).toISOString();
    await add('office in Oslo', { validFrom: day(-20), validTo: day(-10) });
    await add('office in Bergen', { validFrom: day(-10) });
    await add('office in Narvik', { validFrom: day(10) });
    await add('office on the Moon', { source: aSource('untrusted') });
    expect(await search('office', { minTrust: 'user' })).toEqual(['office in Bergen']);
    expect(await search('office', { minTrust: 'user', asOf: day(-15) })).toEqual(['office in Oslo']);
    expect(await search('office', { minTrust: 'user', asOf: day(11) })).toEqual(expect.arrayContaining(['office in Bergen', 'office in Narvik']));
    expect(await search('office Moon')).toEqual(expect.arrayContaining(['office on the Moon']));
    expect(await search('office', { after: day(1) })).toEqual([]);
    expect(await search('office', { before: day(-1) })).toEqual([]);
  });

  it('sees what another process wrote, changed and erased, over segments too', async () => {
    const other = rig.service();
    const made = await add('word0 start');
    expect(await search('start', {}, other)).toEqual(['word0 start']);
    const ids: string[] = [];
    for (let n = 1; n <= limits.memory.pendingEntries + 5; n++) ids.push((await add(`word${n} entry`)).id);
    expect(await search('word77', { k: 1 }, other)).toEqual(['word77 entry']);
    await memory.remove(ann, ids[76] ?? '', 'erase');
    await memory.change(ann, ids[10] ?? '', 1, { content: 'renamed entry' });
    await memory.remove(ann, made.id, 'erase');
    expect(await search('word77 start', { k: 3 }, other)).not.toEqual(expect.arrayContaining(['word77 entry', 'word0 start']));
    expect(await search('renamed', {}, other)).toEqual(['renamed entry']);
    expect(await search('renamed', {}, rig.service())).toEqual(['renamed entry']);
    expect((await asOwner<{ n: string }>('select count(*) as n from memory_segment where tenant_id = $1', [ann.tenantId]))[0]?.n).not.toBe('0');
    expect((await rig.service().usage(ann)).records).toBe(limits.memory.pendingEntries + 4);
  }, 120_000);
});

describe('blocks', () => {
  const block = (content: string, readOnly = false) => ({ content, title: null, readOnly, source: aSource('user'), evidence: [] });

  it('are set by label, compared by version, and read together', async () => {
    expect(await problem(memory.setBlock(ann, 'persona', block('kind'), 3))).toBe('memory.changed');
    const first = await memory.setBlock(ann, 'persona', block('kind'), 0);
    expect(first).toMatchObject({ kind: 'block', label: 'persona', version: 1 });
    expect(await problem(memory.setBlock(ann, 'persona', block('mean'), 0))).toBe('memory.changed');
    const second = await memory.setBlock(ann, 'persona', block('calm'), 1);
    expect(second).toMatchObject({ id: first.id, version: 2, content: 'calm' });
    await memory.setBlock(ann, 'human', block('Ann'));
    expect((await rig.service().blocks(ann)).blocks.map(({ label }) => label)).toEqual(['human', 'persona']);
    // One that is retired is hidden, and its label is free.
    await memory.remove(ann, second.id, 'retire');
    for (const one of [memory, rig.service()]) expect((await one.blocks(ann)).blocks.map(({ label }) => label)).toEqual(['human']);
    expect(await problem(memory.block(ann, 'persona'))).toBe('memory.not_found');
    expect((await memory.setBlock(ann, 'persona', block('new'), 0)).id).not.toBe(second.id);
    expect((await memory.get(ann, second.id)).state).toBe('retired');

    await memory.removeBlock(ann, 'persona');
    expect(await problem(memory.block(ann, 'persona'))).toBe('memory.not_found');
    expect(await search('calm')).toEqual([]);
  });

  it('that are read-only are so to the room', async () => {
    const room: MemoryCaller = { ...ann, channel: 'room', actor: 'room:x' };
    const made = await memory.setBlock(ann, 'rules', block('be kind', true));
    expect(await problem(memory.setBlock(room, 'rules', block('be mean')))).toBe('memory.read_only');
    expect(await problem(memory.removeBlock(room, 'rules'))).toBe('memory.read_only');
    expect(await problem(memory.change(room, made.id, 1, { content: 'be mean' }))).toBe('memory.read_only');
    expect(await problem(memory.remove(room, made.id, 'erase'))).toBe('memory.read_only');
    expect((await memory.setBlock(room, 'own', block('x', true))).readOnly).toBe(false);
  });
});

describe('events', () => {
  it('are listed by session, and expire', async () => {
    const say = (session: string, content: string) => memory.addEvent(ann, { session, role: 'user', content, source: aSource('user') });
    await say('one', 'a');
    clock.advance(1);
    await say('one', 'b');
    await say('two', 'c');
    expect((await memory.events(ann, { limit: 10, session: 'one' })).events.map(({ content }) => content)).toEqual(['b', 'a']);
    expect((await memory.events(ann, { limit: 10 })).events).toHaveLength(3);
    clock.advance(limits.memory.eventRetentionMs);
    for (const reconciler of memory.reconcilers()) await reconciler.run();
    expect((await memory.events(ann, { limit: 10 })).events).toEqual([]);
  });
});

describe('a memory', () => {
  it('forgets what expired, with what was derived from it', async () => {
    const brief = await add('the code is 1234', { expiresAt: new Date(clock.now() + 1000).toISOString() });
    await add('a code was given', { evidence: [brief.id] });
    await add('stays');
    clock.advance(1000);
    expect(await search('code 1234')).not.toContain('the code is 1234');
    for (const reconciler of memory.reconcilers()) await reconciler.run();
    expect((await memory.list(ann, { limit: 10 })).memories.map(({ content }) => content)).toEqual(['stays']);
    expect(await memory.usage(ann)).toMatchObject({ records: 1, events: 0, byKind: { fact: 1 } });
  });

  it('has bounds', async () => {
    await memory.setPolicy(operator, ann.tenantId, { embeddings: null, extraction: null, index: 'sealed', recordsPerUser: 2, bytesPerUser: 10_000, eventsPerUser: 1, eventRetentionMs: 60_000 });
    await add('one');
    await add('two');
    expect(await problem(memory.add(ann, fact('three')))).toBe('memory.quota');
    const event = { session: 's', role: 'user' as const, content: 'a', source: aSource('user') };
    await memory.addEvent(ann, event);
    expect(await problem(memory.addEvent(ann, event))).toBe('memory.quota');
    expect((await memory.list(ann, { limit: 10 })).memories).toHaveLength(2);
    expect(await search('one two')).toHaveLength(2);
  });

  it('tells its user who looked, when and what for, and nothing of what', async () => {
    const made = await add('secretword');
    await memory.get({ ...ann, actor: 'key:other', purpose: 'support' }, made.id);
    await search('secretword');
    const { accesses } = await memory.accesses(ann, { limit: 10 });
    expect(accesses.map(({ actor, action, purpose, records }) => ({ actor, action, purpose, records }))).toEqual([
      { actor: 'key:test', action: 'search', purpose: 'test', records: 1 },
      { actor: 'key:other', action: 'read', purpose: 'support', records: 1 },
      { actor: 'key:test', action: 'add', purpose: 'test', records: 1 },
    ]);
    expect(JSON.stringify(accesses)).not.toContain('secretword');
  });

  it('is exported whole', async () => {
    const made = await add('one');
    await memory.change(ann, made.id, 1, { content: 'uno' });
    await memory.addEvent(ann, { session: 's', role: 'user', content: 'hello', source: aSource('user') });
    const lines: unknown[] = [];
    for await (const line of memory.export(ann)) lines.push(JSON.parse(line));
    expect(lines).toMatchObject([{ memory: { content: 'uno' } }, { versions: [{ content: 'one' }] }, { event: { content: 'hello' } }, { end: true }]);
  });
});

describe('others', () => {
  it('see nothing: another user, another tenant, a user who is not there', async () => {
    const made = await add('private');
    const [bob, foreign] = [{ ...ann, userId: 'bob' }, await rig.caller()];
    for (const other of [bob, foreign]) {
      expect(await problem(memory.get(other, made.id))).toBe('user.not_found');
      await memory.add(other, fact('own'));
      expect(await problem(memory.get(other, made.id))).toBe('memory.not_found');
      expect(await problem(memory.change(other, made.id, 1, { content: 'x' }))).toBe('memory.not_found');
      expect(await problem(memory.remove(other, made.id, 'erase'))).toBe('memory.not_found');
      expect((await memory.search(other, { query: 'private', k: 5 })).hits).toEqual([]);
      expect(await problem(memory.add(other, fact('x', { evidence: [made.id] })))).toBe('request.invalid');
    }
  });

  it('see nothing once the key is destroyed, and nothing stays open', async () => {
    const made = await add('private');
    expect(memory.open.users).toBe(1);
    await rig.keyService.destroyUserKeys(ann);
    expect(await problem(memory.get(ann, made.id))).toBe('vault.key_unavailable');
    expect(await problem(memory.search(ann, { query: 'private', k: 5 }))).toBe('vault.key_unavailable');
    expect(await problem(memory.add(ann, fact('x')))).toBe('vault.key_unavailable');
    expect(memory.open.users).toBe(0);
    const purge = memory.erasePurge();
    expect((await purge.inventory(ann)).map(({ kind, id }) => `${kind} ${id}`)).toEqual([`record ${made.id}`, 'vectors loose entries']);
    expect(await purge.purge(ann)).toMatchObject({ over: true, objects: [{ id: made.id, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) }, { id: 'loose entries' }] });
    expect(await purge.purge(ann)).toEqual({ over: true, objects: [] });
    for (const table of ['memory_record', 'memory_entry', 'memory_segment', 'memory_head', 'memory_access', 'memory_event', 'memory_evidence', 'memory_version']) {
      expect({ table, rows: await asOwner(`select 1 from ${table} where tenant_id = $1`, [ann.tenantId]) }).toEqual({ table, rows: [] });
    }
  });
});
