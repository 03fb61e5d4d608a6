import type { ServerResponse } from 'node:http';
import { limits } from '@alcove/base';
import { SetMemoryPolicy } from '@alcove/contracts';
import type { MemoryCaller, MemoryService } from '@alcove/memory';
import { EmbeddingsEmulator } from '@alcove/testing';
import { asOwner, testClock, type TestClock } from '../db/database';
import { fact, memoryRig, type MemoryRig, operator, problem } from './rig';

const meanings = [['dog', 'puppy', 'hound'], ['car', 'vehicle', 'automobile'], ['doctor', 'physician'], ['holiday', 'vacation']];
let rig: MemoryRig;
let clock: TestClock;
let memory: MemoryService;
let ann: MemoryCaller;
let emulator: EmbeddingsEmulator;
let baseUrl: string;

beforeAll(async () => {
  clock = testClock();
  rig = await memoryRig(clock);
});
beforeEach(async () => {
  memory = rig.service();
  ann = await rig.caller();
  emulator = new EmbeddingsEmulator(meanings, { apiKey: 'sk-canary-endpoint' });
  baseUrl = await emulator.listen();
});
afterEach(() => emulator.close());
afterAll(() => rig.close());

const settle = (endpoint: object = {}, service = memory) =>
  service.setPolicy(operator, ann.tenantId, SetMemoryPolicy.parse({ embeddings: { baseUrl, model: 'm-1', apiKey: 'sk-canary-endpoint', queryPrefix: 'query: ', documentPrefix: 'passage: ', ...endpoint } }));
const add = async (content: string) => (await memory.add(ann, fact(content))).memory;
const search = (query: string, with_: object = {}, by = memory) => by.search(ann, { query, k: 3, ...with_ });
const contents = (answer: Awaited<ReturnType<typeof search>>) => answer.hits.map(({ memory: { content } }) => content);
const jobs = () => asOwner<{ job: string }>(`select job from outbox where tenant_id = $1 order by id`, [ann.tenantId]);

it('finds by meaning what shares no word, and says how', async () => {
  expect(await settle()).toMatchObject({ embeddings: { model: 'm-1', hasApiKey: true } });
  await add('Ann has a puppy');
  await add('Ann drives an old automobile');
  const hybrid = await search('her dog');
  expect(hybrid).toMatchObject({ mode: 'hybrid', index: 'sealed', leakage: 'none', space: expect.stringMatching(/^[0-9a-f]{32}$/), fallback: null });
  expect(contents(hybrid)[0]).toBe('Ann has a puppy');
  const semantic = await search('vehicle', { mode: 'semantic', k: 1 }, rig.service());
  expect(semantic.mode).toBe('semantic');
  expect(contents(semantic)).toEqual(['Ann drives an old automobile']);
  expect(await search('vehicle', { mode: 'lexical' })).toMatchObject({ mode: 'lexical', space: null, hits: [] });
  expect(emulator.asked[0]).toEqual({ authorization: 'Bearer sk-canary-endpoint', model: 'm-1', input: ['passage: Ann has a puppy'], dimensions: undefined });
  expect(emulator.asked.at(-1)?.input).toEqual(['query: vehicle']);
});

it('follows changes, retirement and erasure', async () => {
  await settle();
  const made = await add('Ann has a puppy');
  await memory.change(ann, made.id, 1, { content: 'Ann sees a physician' });
  expect(contents(await search('doctor', { mode: 'semantic', k: 1 }))).toEqual(['Ann sees a physician']);
  await memory.remove(ann, made.id, 'retire');
  expect((await search('doctor', { mode: 'semantic' })).hits).toEqual([]);
});

it('takes floats as well, asks for dimensions only when they are set', async () => {
  await emulator.close();
  emulator = new EmbeddingsEmulator(meanings, { floatsOnly: true });
  baseUrl = await emulator.listen();
  await settle({ dimensions: 24, apiKey: undefined });
  await add('Ann has a puppy');
  expect(contents(await search('hound', { mode: 'semantic' }))).toEqual(['Ann has a puppy']);
  expect(emulator.asked[0]).toMatchObject({ dimensions: 24, authorization: undefined });
});

const broken: [string, (answer: ServerResponse) => void][] = [
  ['a refusal', (answer) => void answer.writeHead(500).end('{}')],
  ['no JSON', (answer) => void answer.writeHead(200).end('<html>')],
  ['another form', (answer) => void answer.writeHead(200).end('{"data":[]}')],
  ['a zero vector', (answer) => void answer.writeHead(200).end('{"data":[{"index":0,"embedding":[0,0,0]}]}')],
  ['numbers that are none', (answer) => void answer.writeHead(200).end('{"data":[{"index":0,"embedding":"AADAfwAAwH8="}]}')],
  ['a redirect', (answer) => void answer.writeHead(302, { location: 'http://127.0.0.1:1/' }).end()],
  ['a closed connection', (answer) => void answer.destroy()],
  ['an endless answer', (answer) => {
    answer.writeHead(200);
    const more = (): void => void (answer.destroyed || !answer.write(Buffer.alloc(1 << 20, 32)) ? answer.once('drain', more) : setImmediate(more));
    answer.on('error', () => undefined);
    more();
  }],
];
it.each(broken)('stores and searches all the same when the endpoint gives %s', async (_, failure) => {
  await settle();
  emulator.failures.push(failure);
  await add('Ann has a puppy');
  expect((await jobs()).map(({ job }) => job)).toEqual(['memory.embed']);
  emulator.failures.push(failure);
  expect(await search('puppy')).toMatchObject({ mode: 'lexical', fallback: 'memory.embeddings', hits: [{ memory: { content: 'Ann has a puppy' } }] });
  // Back again, but its vector is still missing.
  expect(await search('puppy')).toMatchObject({ mode: 'lexical', fallback: 'memory.embeddings' });
  await memory.runEmbedding(ann);
  expect(contents(await search('hound', { mode: 'semantic' }))).toEqual(['Ann has a puppy']);
});

it('a block that got no vector gets it by the job as well', async () => {
  await settle();
  emulator.failures.push((answer) => void answer.writeHead(503).end());
  await memory.setBlock(ann, 'persona', { content: 'Ann has a puppy', title: null, readOnly: false, source: { kind: 'message', ref: null, trust: 'user' }, evidence: [] });
  expect((await jobs()).map(({ job }) => job)).toEqual(['memory.embed']);
});

it('the job fails as the endpoint does, to be tried again', async () => {
  await add('Ann has a puppy');
  await settle();
  emulator.failures.push((answer) => void answer.writeHead(503).end());
  expect(await problem(memory.runEmbedding(ann))).toBe('memory.embeddings');
  await memory.runEmbedding({ ...ann, userId: 'nobody' });
});

it('never compares vectors of two spaces, and makes them anew in batches', async () => {
  await settle();
  const count = limits.memory.embedBatch + 6;
  for (let n = 0; n < count; n++) await add(`puppy number ${n}`);
  const before = (await search('dog', { mode: 'semantic' })).space;
  await settle({ model: 'm-2' });
  expect((await jobs()).at(-1)?.job).toBe('memory.embed');
  expect(await search('dog', { mode: 'semantic' })).toMatchObject({ mode: 'lexical', fallback: 'memory.embeddings' });
  emulator.asked.length = 0;
  await memory.runEmbedding(ann);
  expect(emulator.asked.map(({ model, input }) => `${model} ${input.length}`)).toEqual([`m-2 ${limits.memory.embedBatch}`, 'm-2 6']);
  const after = await search('dog', { mode: 'semantic' }, rig.service());
  expect(after.space).not.toBe(before);
  expect(after.hits).toHaveLength(3);
  const streams = await asOwner<{ stream: string }>(`select distinct stream from memory_entry where tenant_id = $1 and stream like 'vectors/%'`, [ann.tenantId]);
  expect(streams).toEqual([{ stream: `vectors/${after.space}` }]);
  // Nothing is left to do.
  emulator.asked.length = 0;
  await memory.runEmbedding(ann);
  expect(emulator.asked).toEqual([]);
}, 60_000);

it('keeps the endpoint’s key sealed, and with its address only', async () => {
  await settle();
  expect(JSON.stringify(await memory.policy(operator, ann.tenantId))).not.toContain('sk-canary');
  const [row] = await asOwner<{ row: string }>('select memory_policy::text as row from memory_policy where tenant_id = $1', [ann.tenantId]);
  expect(row?.row).not.toContain(Buffer.from('sk-canary').toString('hex'));
  expect(await settle({ apiKey: undefined, model: 'm-3' })).toMatchObject({ embeddings: { hasApiKey: true } });
  expect(await settle({ apiKey: undefined, baseUrl: 'http://other.example/v1' })).toMatchObject({ embeddings: { hasApiKey: false } });
  expect(await problem(memory.setPolicy({ ...operator, kind: 'key', scopes: ['memory:write', 'keys:write'] }, ann.tenantId, SetMemoryPolicy.parse({ embeddings: null })))).toBe('auth.scope');
});
