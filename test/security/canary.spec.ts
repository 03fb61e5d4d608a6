/** On a real platform: what a user says, keeps and holds in RAM, put in through every door, stands in no file that the platform writes. */
import { EmbeddingsEmulator } from '@alcove/testing';
import { homePaths, readSettingsFile } from '../../apps/cli/src/home';
import { dump, needles, searchFiles } from '../canary';
import { exec, say, startPlatform, type Platform } from '../e2e/platform';

jest.setTimeout(600_000);
let platform: Platform;
beforeAll(async () => {
  platform = await startPlatform();
});
afterAll(() => platform?.destroy());

/** One per door, so that a leak names it. */
const canary = {
  content: 'xylophone7q', title: 'marmoset9z', tag: 'quokka3w', block: 'axolotl5v', event: 'pangolin8u', session: 'okapi2t22', query: 'ocelot4r', changed: 'caracal1p',
  fromRoom: 'tapir6s66', prompt: 'narwhal8k', ram: 'wombat3j33', file: 'lemur9b99', fileName: 'gibbon5x', env: 'dugong4m', command: 'jerboa6d', input: 'kinkajou2', endpointKey: 'sk-numbat-7f7f',
};

it('a user’s words, files, memory and RAM are nowhere in what the platform stores', async () => {
  const embeddings = new EmbeddingsEmulator([[canary.content], ['other']], { apiKey: canary.endpointKey });
  try {
    const { client, operator, tenantId, home } = platform;
    const settings = { embeddings: { baseUrl: await embeddings.listen(), model: 'm', apiKey: canary.endpointKey } };
    await operator.json('PUT', `/v1/tenants/${tenantId}/memory`, settings);
    const room = await client.createRoom({ userId: 'ann', env: { CANARY: canary.env } });
    await remember();
    await live(room.id);
    expect((await client.hibernate(room.id)).state).toBe('hibernated');
    // The first image becomes the checkpoint, and the second one is written over what the first wake left.
    expect((await say(platform, room.id, 'count')).resumedFrom).toBe('memory');
    expect((await exec(platform, room.id, ['bash', '-c', `cat /home/user/${canary.fileName}; cat /proc/$(pgrep -f holds.py)/cmdline; echo $CANARY`])).stdout).toContain(canary.file);
    expect((await client.hibernate(room.id)).state).toBe('hibernated');
    expect(embeddings.asked.length).toBeGreaterThan(0);

    const words = Object.entries(canary).flatMap(([door, word]) => needles(word).map((needle) => ({ door, needle })));
    const vector = embeddings.vectorOf(canary.content);
    const length = Math.hypot(...vector);
    const floats = [vector, vector.map((value) => value / length)].map((numbers) => Buffer.from(Float32Array.from(numbers).buffer).subarray(0, 12).toString('latin1'));
    const texts = [...words.map(({ needle }) => needle), ...floats, ...floats.map((bytes) => Buffer.from(bytes, 'latin1').toString('hex'))];

    // The room's id stands in the clear where it may: what looks finds what is there.
    const { files, found } = await searchFiles(home, [...texts, room.id], templates);
    expect(found.filter(({ needle }) => needle === room.id).map(({ file }) => file.split('/')[0])).toEqual(expect.arrayContaining(['postgres', 'host']));
    expect(files).toBeGreaterThan(1000);
    expect(found.filter(({ needle }) => needle !== room.id)).toEqual([]);

    // What PostgreSQL compresses in its files is plain in its tables.
    const dumped = (await Promise.all((await ownerUrls(home)).map(dump))).join('\n');
    expect(dumped).toContain(room.id);
    expect(words.filter(({ needle }) => dumped.includes(needle))).toEqual([]);
    expect(texts.filter((text) => dumped.includes(text))).toEqual([]);
  } finally {
    await embeddings.close();
  }
});

/** Older than any user, and large. */
const templates = 'store/templates';
const memory = '/v1/users/ann/memory';

/** Through the public API. */
async function remember(): Promise<void> {
  const { client } = platform;
  const source = { kind: 'message', ref: canary.session, trust: 'user' };
  const made = await client.json<{ id: string }>('POST', memory, { kind: 'fact', content: `about ${canary.content}`, title: canary.title, tags: [canary.tag], source });
  await client.call('PUT', `${memory}/${made.id}`, { json: { content: `about ${canary.content}, now ${canary.changed}` }, headers: { 'if-match': '"1"' } });
  await client.call('PUT', `${memory}/blocks/persona`, { json: { content: canary.block, source } });
  await client.call('POST', `${memory}/events`, { json: { session: canary.session, role: 'user', content: `Remember that ${canary.event} is mine`, source } });
  await client.call('POST', `${memory}/search`, { json: { query: canary.query, tags: [canary.tag] } });
  await client.call('POST', `${memory}/consolidations`);
}

/** Through the agent, its door to memory, commands, files and processes. */
async function live(room: string): Promise<void> {
  const { client } = platform;
  await say(platform, room, `remember that ${canary.fromRoom} is green`);
  await say(platform, room, `remember the note of ${canary.prompt}`);
  await client.call('PUT', `/v1/rooms/${room}/files?path=${encodeURIComponent(`/home/user/${canary.fileName}`)}`, { bytes: Buffer.from(canary.file.repeat(2000)) });
  await exec(platform, room, ['bash', '-c', `echo ${canary.command} >&2; cat > /tmp/typed <<< ${canary.input}; exit 3`]);
  await exec(platform, room, `printf 'import sys, time\\nheld = ["${canary.ram}" * 4096 for _ in range(64)]\\nopen("/tmp/held", "w").close()\\ntime.sleep(1e6)\\n' > /tmp/holds.py`);
  await client.call('POST', `/v1/rooms/${room}/processes`, { json: { command: ['python3', '/tmp/holds.py', canary.ram] } });
  expect((await exec(platform, room, 'until test -e /tmp/held; do sleep 0.05; done; sync', { timeoutMs: 60_000 })).exitCode).toBe(0);
}

async function ownerUrls(home: string): Promise<string[]> {
  const settings = await readSettingsFile(homePaths(home));
  if (!settings?.ports?.keys || !settings.keys) throw new Error('this home has no databases');
  const at = (password: string, port: number, name: string): string => `postgres://postgres:${password}@127.0.0.1:${port}/${name}`;
  return [at(settings.databasePassword, settings.ports.postgres, 'alcove'), at(settings.keys.databasePassword, settings.ports.keys, 'alcove_keys')];
}
