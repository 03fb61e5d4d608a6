/** How long a sandbox lives, what ends its time, and what is kept of that over sleeps. On the fake driver: what is in its memory is another suite's matter. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Sandbox } from 'e2b';
import type { RoomEvent } from '@alcove/contracts';
import { until } from '../../e2e/platform';
import { failureOf, roomIdOf, Tenancy } from './sdk';

jest.setTimeout(180_000);
let mine: Tenancy;
beforeAll(async () => {
  mine = await Tenancy.open('fake');
});
afterAll(() => mine?.close());

const stateOf = async (sandbox: Sandbox): Promise<string> =>
  (await sandbox.getInfo().catch((error: unknown) => ({ state: (error as Error).constructor.name }))).state;
const becomes = (sandbox: Sandbox, state: string): Promise<unknown> => until(`${sandbox.sandboxId} is ${state}`, async () => (await stateOf(sandbox)) === state);
const leftMs = async (sandbox: Sandbox): Promise<number> => (await sandbox.getInfo()).endAt.getTime() - Date.now();

/** The state changes of a room so far, oldest first. */
async function eventsOf(sandboxId: string): Promise<RoomEvent[]> {
  const enough = new AbortController();
  const events: RoomEvent[] = [];
  const last = `last-${crypto.randomUUID()}`;
  try {
    const room = await mine.v1.room(roomIdOf(sandboxId));
    for await (const { data } of mine.v1.roomEvents(roomIdOf(sandboxId), '0', enough.signal)) {
      const event = JSON.parse(data) as RoomEvent;
      events.push(event);
      if (event.generation >= room.generation) break;
    }
  } finally {
    enough.abort(last);
  }
  return events;
}

describe('time', () => {
  it('connect to a running sandbox extends its time and never shortens it', async () => {
    const sandbox = await mine.create({ timeoutMs: 300_000 });
    await sandbox.connect({ timeoutMs: 60_000 });
    expect(await leftMs(sandbox)).toBeGreaterThan(240_000);
    await sandbox.connect({ timeoutMs: 900_000 });
    expect(await leftMs(sandbox)).toBeGreaterThan(800_000);
  });

  it('setTimeout extends and shortens', async () => {
    const sandbox = await mine.create({ timeoutMs: 300_000 });
    await sandbox.setTimeout(900_000);
    expect(await leftMs(sandbox)).toBeGreaterThan(800_000);
    await sandbox.setTimeout(100_000);
    expect(await leftMs(sandbox)).toBeLessThan(101_000);
  });

  it('kills at its end: gone from getInfo and list, no more to connect to, and /v1 says why', async () => {
    const sandbox = await mine.create({ timeoutMs: 1000, metadata: { end: 'time' } });
    await becomes(sandbox, 'SandboxNotFoundError');
    expect((await failureOf(sandbox.connect())).name).toBe('SandboxNotFoundError');
    expect(await Sandbox.list({ ...mine.at, query: { metadata: { end: 'time' } } }).nextItems()).toEqual([]);
    expect(await sandbox.kill()).toBe(false);
    const answer = await fetch(`https://api.${mine.at.domain}/sandboxes/${sandbox.sandboxId}`, { headers: { 'x-api-key': mine.at.apiKey } });
    expect(await answer.json()).toMatchObject({ code: 404, message: expect.stringMatching(/timeout/) as string });
  });

  it('pauses at its end where that was asked, by the same path as pause(): one image, one reason', async () => {
    const sandbox = await mine.create({ timeoutMs: 1000, lifecycle: { onTimeout: 'pause' } });
    await becomes(sandbox, 'paused');
    await until('the room sleeps', async () => (await mine.v1.room(roomIdOf(sandbox.sandboxId))).state === 'hibernated');
    expect(await sandbox.pause()).toBe(false);
    const events = await eventsOf(sandbox.sandboxId);
    expect(events.filter(({ to }) => to === 'hibernating').map(({ reason }) => reason)).toEqual([expect.stringMatching(/timeout/)]);
    expect(events.filter(({ type }) => type === 'image')).toHaveLength(1);
  });

  it('setTimeout to nothing ends it now', async () => {
    const sandbox = await mine.create();
    await sandbox.setTimeout(0);
    await becomes(sandbox, 'SandboxNotFoundError');
  });

  it('refuses to connect for no time', async () => {
    const sandbox = await mine.create();
    expect((await failureOf(sandbox.connect({ timeoutMs: -5000 }))).message).toMatch(/^400: /);
  });
});

describe('pause and connect', () => {
  it('pause, paused, connect, running; the id stays', async () => {
    const sandbox = await mine.create();
    expect(await sandbox.pause()).toBe(true);
    expect(await stateOf(sandbox)).toBe('paused');
    expect(await sandbox.pause()).toBe(false);
    const again = await Sandbox.connect(sandbox.sandboxId, { ...mine.at, timeoutMs: 200_000 });
    expect(again.sandboxId).toBe(sandbox.sandboxId);
    expect(await stateOf(again)).toBe('running');
    expect(await leftMs(again)).toBeGreaterThan(150_000);
  });

  it('says 201 of a connect that resumed and 200 of one that found it running', async () => {
    const sandbox = await mine.create();
    const connect = async (): Promise<number> =>
      (await fetch(`https://api.${mine.at.domain}/v2/sandboxes/${sandbox.sandboxId}/connect`, { method: 'POST', headers: { 'x-api-key': mine.at.apiKey, 'content-type': 'application/json' }, body: '{}' })).status;
    expect(await connect()).toBe(200);
    await sandbox.pause();
    expect(await connect()).toBe(201);
  });

  it('two clients that connect to one paused sandbox at once make one resume', async () => {
    const sandbox = await mine.create();
    await sandbox.pause();
    const before = (await mine.v1.room(roomIdOf(sandbox.sandboxId))).incarnation ?? 0;
    const clients = await Promise.all(Array.from({ length: 4 }, () => Sandbox.connect(sandbox.sandboxId, mine.at)));
    expect(new Set(clients.map(({ sandboxId }) => sandboxId))).toEqual(new Set([sandbox.sandboxId]));
    expect((await mine.v1.room(roomIdOf(sandbox.sandboxId))).incarnation ?? 0).toBe(before + 1);
    expect((await eventsOf(sandbox.sandboxId)).filter(({ to }) => to === 'resuming')).toHaveLength(1);
  });

  it('kills a paused one, and then there is none to connect to', async () => {
    const sandbox = await mine.create();
    await sandbox.pause();
    expect(await sandbox.kill()).toBe(true);
    expect((await failureOf(sandbox.connect())).name).toBe('SandboxNotFoundError');
    expect(await sandbox.kill()).toBe(false);
  });

  it('a paused one outlives its time', async () => {
    const sandbox = await mine.create({ timeoutMs: 3000 });
    const { endAt } = await sandbox.getInfo();
    await sandbox.pause();
    const clock = await mine.create({ timeoutMs: 3000 });
    await becomes(clock, 'SandboxNotFoundError');
    expect(Date.now()).toBeGreaterThan(endAt.getTime());
    expect(await stateOf(sandbox)).toBe('paused');
  });

  it('the policy survives every resume: paused by time, resumed, paused by time, ten times over', async () => {
    const sandbox = await mine.create({ lifecycle: { onTimeout: 'pause', autoResume: true } });
    for (let round = 0; round < 10; round++) {
      await sandbox.setTimeout(0);
      await becomes(sandbox, 'paused');
      await sandbox.connect({ timeoutMs: 600_000 });
      expect({ round, lifecycle: (await sandbox.getInfo()).lifecycle }).toEqual({ round, lifecycle: { onTimeout: 'pause', autoResume: true } });
    }
  });

  it('a resume without a time of its own keeps the time that the sandbox was made with', async () => {
    const sandbox = await mine.create({ timeoutMs: 1_800_000 });
    await sandbox.pause();
    await sandbox.connect();
    expect(await leftMs(sandbox)).toBeGreaterThan(1_700_000);
  });

  it('rapid pauses and connects, in any order, end in what was asked last', async () => {
    const sandbox = await mine.create();
    for (let round = 0; round < 20; round++) {
      const calls = [sandbox.pause(), sandbox.connect(), sandbox.pause(), sandbox.connect()].map((call) => call.then(() => 'ok', (error: unknown) => (error as Error).constructor.name));
      for (const end of await Promise.all(calls)) expect(['ok', 'ServiceBusyError', 'RateLimitError']).toContain(end);
    }
    await sandbox.connect();
    expect(await stateOf(sandbox)).toBe('running');
  });
});

describe('a pause that fails', () => {
  const faults = (): string => join(mine.world.home, 'host', 'faults.json');
  afterEach(() => rm(faults(), { force: true }));

  it('leaves the sandbox running, says that nothing was changed, and can be asked for again', async () => {
    const sandbox = await mine.create();
    await writeFile(faults(), JSON.stringify([{ verb: 'seal', kind: 'fail', place: 'before', roomId: roomIdOf(sandbox.sandboxId) }]));
    expect((await failureOf(sandbox.pause())).name).toBe('ServiceBusyError');
    expect(await stateOf(sandbox)).toBe('running');
    await rm(faults());
    expect(await sandbox.pause()).toBe(true);
  });

  it('is made up for when time asked for it', async () => {
    const sandbox = await mine.create({ lifecycle: { onTimeout: 'pause' } });
    await writeFile(faults(), JSON.stringify([{ verb: 'seal', kind: 'fail', place: 'before', roomId: roomIdOf(sandbox.sandboxId) }]));
    await sandbox.setTimeout(0);
    await until('a pause failed', async () => (await eventsOf(sandbox.sandboxId)).some(({ from, to }) => from === 'hibernating' && to === 'running'));
    await rm(faults());
    await until('it sleeps', async () => (await mine.v1.room(roomIdOf(sandbox.sandboxId))).state === 'hibernated');
  });
});

it('keeps the same token over a resume, and gives another sandbox another one', async () => {
  const sandbox = await mine.create({ network: { allowPublicTraffic: false } });
  const tokens = (one: Sandbox): unknown[] => [(one as unknown as { envdAccessToken: string }).envdAccessToken, one.trafficAccessToken];
  await sandbox.pause();
  expect(tokens(await Sandbox.connect(sandbox.sandboxId, mine.at))).toEqual(tokens(sandbox));
  const other = await mine.create({ network: { allowPublicTraffic: false } });
  for (const token of tokens(other)) expect(tokens(sandbox)).not.toContain(token);
});
