import { createLog, type Log, Secret } from '@alcove/base';
import { SetMemoryPolicy } from '@alcove/contracts';
import { QdrantPoints } from '@alcove/memory';
import { EmbeddingsEmulator, QdrantEmulator } from '@alcove/testing';
import { asOwner, ownDatabase } from '../db/database';
import { keysOwnerUrl } from '../db/database';
import { dump, needles } from '../../canary';
import { aSource, fact, memoryRig, operator } from './rig';

/** Words that stand in no row, job, log or dump of the databases, and in no request to Qdrant, however they are written. */
const canaries = ['xylophone7q', 'marmoset9z', 'quokka3w', 'axolotl5v', 'pangolin8u', 'okapi2t', 'tapir6s', 'ocelot4r', 'caracal1p', 'sk-canary-endpoint-key'];
const [content, title, tag, ref, session, block, said, changed, query] = canaries as [string, string, string, string, string, string, string, string, string, string];

it('nothing of a user stands in any table, job, log or point of Qdrant in the clear', async () => {
  const lines: string[] = [];
  const log = new Proxy(createLog('test', 'silent'), { get: (target, name) => (['trace', 'debug', 'info', 'warn', 'error', 'fatal'].includes(String(name)) ? (...args: unknown[]) => void lines.push(describe(args)) : Reflect.get(target, name) as unknown) }) as Log;
  const describe = (args: unknown[]): string => JSON.stringify(args, (_, value: unknown) => (value instanceof Error ? { ...value, message: value.message, stack: value.stack, cause: value.cause } : value));
  const rig = await memoryRig();
  const emulator = new EmbeddingsEmulator([[content], ['other']], { apiKey: canaries[9] ?? '' });
  const qdrant = await QdrantEmulator.start({ apiKey: 'q', clustered: true });
  try {
    const memory = rig.service({ log, qdrant: new QdrantPoints({ url: qdrant.url, apiKey: new Secret('q') }) });
    const ann = await rig.caller();
    const baseUrl = await emulator.listen();
    await memory.setPolicy(operator, ann.tenantId, SetMemoryPolicy.parse({ embeddings: { baseUrl, model: 'm', apiKey: canaries[9] }, index: 'qdrant' }));
    const source = { kind: 'message' as const, ref, trust: 'user' as const };
    const { memory: made } = await memory.add(ann, fact(`about ${content}`, { title, tags: [tag], source }), { idempotencyKey: 'k' });
    await memory.change(ann, made.id, 1, { content: `about ${changed}` });
    await memory.setBlock(ann, 'persona', { content: block, title, readOnly: false, source, evidence: [] });
    await memory.addEvent(ann, { session, role: 'user', content: `Remember that ${said} is mine`, source }, { idempotencyKey: 'k' });
    await memory.search(ann, { query, k: 5, tags: [tag] });
    const room = { ...ann, channel: 'room' as const, actor: 'room:x' };
    await memory.add(room, fact(`from the room ${content}`, { source: aSource('agent') }));
    for (let n = 0; n < 135; n++) await memory.add(ann, fact(`${content} ${n}`, { tags: [tag] }));
    const { id } = await memory.consolidate(ann);
    await memory.runConsolidation(ann, id);
    await memory.runIndexing(ann);
    expect((await memory.search(ann, { query: content, k: 5 })).index).toBe('qdrant');
    await memory.remove(ann, made.id, 'retire');
    await memory.runIndexing(ann);
    qdrant.fault = () => 'before';
    await memory.search(ann, { query: content, k: 5 });
    qdrant.fault = () => null;
    emulator.failures.push((answer) => void answer.writeHead(500).end(content));
    await memory.search(ann, { query: content, k: 5 });
    emulator.failures.push((answer) => answer.destroy());
    await memory.add(ann, fact(`late ${content}`));
    await asOwner('update memory_record set content = about where id = $1', [made.id]);
    await memory.get(ann, made.id).catch((error: unknown) => log.error({ err: error }, 'refused'));
    // What may be in a dump: the vectors' numbers as they lie in memory.
    const vector = Buffer.from(Float32Array.from(emulator.vectorOf(content)).buffer);
    const norm = Math.hypot(...emulator.vectorOf(content));
    const unit = Buffer.from(Float32Array.from(emulator.vectorOf(content).map((value) => value / norm)).buffer);
    const dumped = (await dump(process.env['TEST_DB_OWNER_URL'] ?? '')) + (await dump(keysOwnerUrl()));
    expect(dumped.length).toBeGreaterThan(100_000);
    const points = qdrant.points();
    expect(points.length).toBeGreaterThan(135);
    // Every request as it went over the wire, and the numbers of every point as they lie in memory.
    const sent = qdrant.http.requests.map(({ path, headers, body }) => path + JSON.stringify(headers) + body).join('\n');
    const held = points.map(({ vector: numbers }) => Buffer.from(numbers.buffer, numbers.byteOffset, numbers.byteLength).toString('latin1')).join('\n');
    for (const [where, text] of [['tables', dumped], ['log', lines.join('\n')], ['requests to Qdrant', sent], ['points of Qdrant', held]] as const) {
      for (const word of canaries) for (const needle of needles(word)) expect({ where, word, needle, found: text.includes(needle) }).toEqual({ where, word, needle, found: false });
      for (const floats of [vector.subarray(0, 12), unit.subarray(0, 12)]) expect({ where, found: text.includes(floats.toString('latin1')) || text.includes(floats.toString('hex')) }).toEqual({ where, found: false });
    }
    expect(lines.length).toBeGreaterThanOrEqual(3);
  } finally {
    await emulator.close();
    await qdrant.close();
    await rig.close();
  }
}, 120_000);

it('would be found if it did', async () => {
  const own = await ownDatabase();
  try {
    await asOwner('create table leak (a text, b bytea, c jsonb)', [], own.ownerUrl);
    for (const [column, value] of [['a', Buffer.from(`x${content}y`).toString('base64')], ['a', content], ['a', Buffer.from(content).toString('hex')], ['b', Buffer.from(content)], ['c', JSON.stringify({ deep: [content] })]] as const) {
      await asOwner(`insert into leak (${column}) values ($1)`, [value], own.ownerUrl);
      const text = await dump(own.ownerUrl);
      expect(needles(content).some((needle) => text.includes(needle))).toBe(true);
      await asOwner('delete from leak', [], own.ownerUrl);
    }
  } finally {
    await own.remove();
  }
});
