import { newId } from '@alcove/base';
import { Problem, Room, RoomEvent, WakeAnswer, type NewApiKey } from '@alcove/contracts';
import { firstEvents, until } from './conditions';
import { makeIdentities, removeIdentities, startRig, type Rig } from './rig';
import { bytesOf, StubHost } from './stub-host';

/** The public API on real Postgres, with a host over real mutual TLS that runs nothing. */
let rig: Rig;
let host: StubHost;
let identities: Awaited<ReturnType<typeof makeIdentities>>;
let key: NewApiKey;

beforeAll(async () => {
  const hostId = newId('host');
  identities = await makeIdentities([hostId]);
  host = new StubHost(hostId, identities.of(hostId));
  await host.listen();
  rig = await startRig(identities);
  expect((await host.sendBeat(rig.internalUrl)).status).toBe(200);
  key = (await rig.tenant({ roomsPerUser: 100 })).key;
});
afterAll(async () => {
  await rig?.close();
  await host?.close();
  removeIdentities(identities);
});

const call: Rig['call'] = (method, path, options = {}) => rig.call(method, path, { key: key.key, ...options });

async function codeOf(answer: Response): Promise<string> {
  return ((await answer.json()) as { code: string }).code;
}

async function stateOf(roomId: string): Promise<string> {
  return ((await (await call('GET', `/v1/rooms/${roomId}`)).json()) as { state: string }).state;
}

async function wantedOf(roomId: string): Promise<string> {
  return ((await (await call('GET', `/v1/rooms/${roomId}`)).json()) as Room).wanted;
}

async function runningRoom(userId = 'u1'): Promise<string> {
  const made = await call('POST', '/v1/rooms', { json: { userId } });
  expect(made.status).toBe(201);
  const { id } = Room.parse(await made.json());
  await until('the room runs', async () => (await stateOf(id)) === 'running');
  return id;
}

describe('a room', () => {
  it('is made, runs, sleeps, wakes, and is destroyed', async () => {
    const id = await runningRoom();
    const asleep = Room.parse(await (await call('POST', `/v1/rooms/${id}/hibernate`)).json());
    expect(asleep).toMatchObject({ state: 'hibernated', wanted: 'asleep' });
    const awake = WakeAnswer.parse(await (await call('POST', `/v1/rooms/${id}/wake`)).json());
    expect(awake).toMatchObject({ room: { state: 'running' }, resumedFrom: 'memory' });
    expect((await call('DELETE', `/v1/rooms/${id}`)).status).toBe(202);
    await until('the room is gone', async () => (await call('GET', `/v1/rooms/${id}`)).status === 410);
    for (const [method, path] of [['POST', 'wake'], ['POST', 'hibernate'], ['POST', 'invocations'], ['GET', 'logs'], ['PUT', 'env']] as const) {
      const answer = await call(method, `/v1/rooms/${id}/${path}`, method === 'GET' ? {} : { json: {} });
      expect({ path, status: answer.status, code: await codeOf(answer) }).toEqual({ path, status: 410, code: 'room.gone' });
    }
  });

  it('is listed by user, state and metadata, page by page', async () => {
    const own = (await rig.tenant({ roomsPerUser: 10 })).key.key;
    for (const team of ['a', 'b', 'a']) await call('POST', '/v1/rooms', { key: own, json: { userId: `of-${team}`, metadata: { team } } });
    const list = async (query: string) => (await (await call('GET', `/v1/rooms?${query}`, { key: own })).json()) as { rooms: Room[]; nextCursor: string | null };
    expect((await list('metadata[team]=a')).rooms.map((room) => room.metadata)).toEqual([{ team: 'a' }, { team: 'a' }]);
    expect((await list('userId=of-b')).rooms).toHaveLength(1);
    expect((await list('state=destroyed')).rooms).toHaveLength(0);
    const first = await list('limit=2');
    const second = await list(`limit=2&cursor=${first.nextCursor}`);
    expect(new Set([...first.rooms, ...second.rooms].map((room) => room.id)).size).toBe(3);
    expect(second.nextCursor).toBeNull();
  });

  it('is made once for one idempotency key', async () => {
    const headers = { 'idempotency-key': 'make-1' };
    const first = await call('POST', '/v1/rooms', { json: { userId: 'idem' }, headers });
    const second = await call('POST', '/v1/rooms', { json: { userId: 'idem' }, headers });
    expect([first.status, second.status]).toEqual([201, 201]);
    expect(((await second.json()) as Room).id).toBe(((await first.json()) as Room).id);
    expect(second.headers.get('idempotent-replayed')).toBe('true');
    const other = await call('POST', '/v1/rooms', { json: { userId: 'someone-else' }, headers });
    expect([other.status, await codeOf(other)]).toEqual([422, 'request.idempotency_reused']);
    const odd = await call('POST', '/v1/rooms', { json: { userId: 'idem' }, headers: { 'idempotency-key': 'x'.repeat(129) } });
    expect(odd.status).toBe(400);
  });

  it('keeps the values of its environment to itself', async () => {
    const id = await runningRoom();
    const set = Room.parse(await (await call('PUT', `/v1/rooms/${id}/env`, { json: { TOKEN: 'hunter2', B: '1' } })).json());
    expect(set.env).toEqual(['B', 'TOKEN']);
    const removed = await call('DELETE', `/v1/rooms/${id}/env/TOKEN`);
    const text = await removed.text();
    expect(JSON.parse(text)).toMatchObject({ env: ['B'] });
    expect(text).not.toContain('hunter2');
  });

  it('is refused beyond what its user may have', async () => {
    const own = (await rig.tenant()).key.key;
    expect((await call('POST', '/v1/rooms', { key: own, json: { userId: 'u' } })).status).toBe(201);
    const second = await call('POST', '/v1/rooms', { key: own, json: { userId: 'u' } });
    expect([second.status, await codeOf(second)]).toEqual([409, 'room.limit']);
  });

  it('is woken even when it is just falling asleep', async () => {
    const id = await runningRoom();
    const release = host.hold('sealed');
    const hibernating = call('POST', `/v1/rooms/${id}/hibernate`);
    await until('it falls asleep', async () => (await stateOf(id)) === 'hibernating');
    const waking = call('POST', `/v1/rooms/${id}/wake`);
    await until('the wake is kept', async () => (await wantedOf(id)) === 'available');
    release();
    expect([(await waking).status, (await hibernating).status]).toEqual([200, 200]);
    expect(await stateOf(id)).toBe('running');
  });

  it('is busy for who wakes it while somebody else puts it to sleep', async () => {
    const id = await runningRoom();
    const release = host.hold('sealed');
    const first = call('POST', `/v1/rooms/${id}/hibernate`);
    await until('it falls asleep', async () => (await stateOf(id)) === 'hibernating');
    const waking = call('POST', `/v1/rooms/${id}/wake`);
    await until('the wake is kept', async () => (await wantedOf(id)) === 'available');
    const second = call('POST', `/v1/rooms/${id}/hibernate`);
    await until('the sleep is wished for', async () => (await wantedOf(id)) === 'asleep');
    release();
    const busy = await waking;
    expect([busy.status, await codeOf(busy), busy.headers.get('retry-after')]).toEqual([409, 'room.busy', '1']);
    expect([(await first).status, (await second).status]).toEqual([200, 200]);
  });

  it('cannot be made while no host has room', async () => {
    host.roomsMax = 0;
    const full = await until('placement sees it', async () => {
      await host.sendBeat(rig.internalUrl);
      const answer = await call('POST', '/v1/rooms', { json: { userId: 'late' } });
      return answer.status === 503 && answer;
    });
    host.roomsMax = 1000;
    await host.sendBeat(rig.internalUrl);
    expect([await codeOf(full), full.headers.get('retry-after')]).toEqual(['host.capacity', '5']);
    const other = await call('POST', '/v1/rooms', { json: { userId: 'late', template: 'nowhere' } });
    expect([other.status, await codeOf(other)]).toEqual([404, 'template.not_found']);
    await until('placement sees that there is room again', async () => (await call('POST', '/v1/rooms', { json: { userId: 'late' } })).status === 201);
  });

  it('goes with its user', async () => {
    const own = (await rig.tenant({ roomsPerUser: 5 })).key.key;
    const made = (await (await call('POST', '/v1/rooms', { key: own, json: { userId: 'leaving' } })).json()) as Room;
    expect(await (await call('GET', '/v1/users', { key: own })).json()).toMatchObject({ users: [{ id: 'leaving', rooms: 1, state: 'active' }] });
    expect((await call('DELETE', '/v1/users/leaving', { key: own })).status).toBe(202);
    await until('the room went too', async () => (await call('GET', `/v1/rooms/${made.id}`, { key: own })).status === 410);
    const again = await call('POST', '/v1/rooms', { key: own, json: { userId: 'leaving' } });
    expect([again.status, await codeOf(again)]).toEqual([410, 'user.gone']);
  });
});

describe('the events of a room', () => {
  it('come in order, and go on after the last one that was seen', async () => {
    const id = await runningRoom();
    const states = (events: { data: unknown }[]) => events.map((event) => RoomEvent.parse(event.data).to);
    const first = await firstEvents(await call('GET', `/v1/rooms/${id}/events`), 2);
    expect(states(first)).toEqual(['provisioning', 'running']);
    const following = firstEvents(await call('GET', `/v1/rooms/${id}/events`, { headers: { 'last-event-id': first[1]?.id ?? '' } }), 3);
    await call('POST', `/v1/rooms/${id}/hibernate`);
    const rest = await following;
    expect(rest.map((event) => event.event).sort()).toEqual(['image', 'state', 'state']);
    const everything = await firstEvents(await call('GET', `/v1/rooms/${id}/events?after=0`), 5);
    expect(everything.map((event) => event.id)).toEqual([...first, ...rest].map((event) => event.id));
  });

  it('end with the room, and are gone after that', async () => {
    const id = await runningRoom();
    const following = await call('GET', `/v1/rooms/${id}/events`);
    await call('DELETE', `/v1/rooms/${id}`);
    const events = await firstEvents(following, Infinity);
    expect(RoomEvent.parse(events.at(-1)?.data).to).toBe('destroyed');
    const last = events.at(-1)?.id ?? '';
    expect((await call('GET', `/v1/rooms/${id}/events?after=${last}`)).status).toBe(410);
    expect(await firstEvents(await call('GET', `/v1/rooms/${id}/events`), Infinity)).toHaveLength(events.length);
  });
});

describe('a call into a room', () => {
  it('brings the body to the agent and its answer back as it is', async () => {
    const id = await runningRoom();
    host.on('POST invocations', async (asked, reply) => {
      const body = await bytesOf(asked);
      return reply.code(418).headers({ 'content-type': 'text/event-stream', 'alcove-source': 'agent', 'x-internal': 'no' }).send(`data: ${body.toString()} ${asked.headers['x-amzn-bedrock-agentcore-runtime-session-id'] ?? ''}\n\n`);
    });
    const answer = await call('POST', `/v1/rooms/${id}/invocations`, { body: '{"prompt":"hi"}', headers: { 'content-type': 'application/json', 'x-amzn-bedrock-agentcore-runtime-session-id': 's1' } });
    expect(answer.status).toBe(418);
    expect(Object.fromEntries(answer.headers)).toMatchObject({ 'content-type': 'text/event-stream', 'alcove-room-state': 'running', 'alcove-resumed-from': 'new', 'alcove-woken-ms': '0', 'x-content-type-options': 'nosniff' });
    expect(answer.headers.get('x-internal')).toBeNull();
    expect(await answer.text()).toBe('data: {"prompt":"hi"} s1\n\n');
    const plain = await call('POST', `/v1/rooms/${id}/invocations`, { body: '{"prompt":"hi"}', headers: { 'content-type': 'application/json' } });
    expect(await plain.text()).toBe(`data: {"prompt":"hi"} ${id}\n\n`);
  });

  it('wakes a room that sleeps, and says so; unless it was told not to', async () => {
    const id = await runningRoom();
    await call('POST', `/v1/rooms/${id}/hibernate`);
    for (const path of ['exec?wake=false', 'logs?wake=false', 'files?path=a&wake=false']) {
      const refused = await call(path.startsWith('exec') ? 'POST' : 'GET', `/v1/rooms/${id}/${path}`, path.startsWith('exec') ? { json: { command: 'true' } } : {});
      expect([path, refused.status, await codeOf(refused)]).toEqual([path, 409, 'room.not_running']);
      expect(refused.headers.get('retry-after')).toBe('1');
    }
    host.on('POST invocations', (_asked, reply) => reply.header('alcove-source', 'agent').send({ ok: true }));
    const answer = await call('POST', `/v1/rooms/${id}/invocations`, { json: {} });
    expect(await answer.json()).toEqual({ ok: true });
    expect(answer.headers.get('alcove-resumed-from')).toBe('memory');
    expect(Number(answer.headers.get('alcove-woken-ms'))).toBeGreaterThan(0);
  });

  it('is made again when the room was lost before it answered', async () => {
    const id = await runningRoom();
    host.on('POST invocations', async (asked, reply) => reply.header('alcove-source', 'agent').send(await bytesOf(asked)));
    host.kill(id);
    const answer = await call('POST', `/v1/rooms/${id}/invocations`, { body: 'again', headers: { 'content-type': 'text/plain' } });
    expect([answer.status, await answer.text()]).toEqual([200, 'again']);
    expect(((await (await call('GET', `/v1/rooms/${id}`)).json()) as Room).incarnation).toBe(2);
  });

  it('is made once only when the room lives and its agent does not answer', async () => {
    const id = await runningRoom();
    let calls = 0;
    for (const problem of [new Problem('agent.unreachable', { detail: 'nothing answers on port 8080 in the room' }), new Problem('guest.closed')]) {
      calls = 0;
      host.on('POST invocations', () => {
        calls += 1;
        throw problem;
      });
      const answer = await call('POST', `/v1/rooms/${id}/invocations`, { json: {} });
      expect([answer.status, calls]).toEqual([502, 1]);
      expect(await answer.json()).toMatchObject({ code: problem.code, ...(problem.code === 'agent.unreachable' && { detail: problem.detail }) });
    }
    expect(((await (await call('GET', `/v1/rooms/${id}`)).json()) as Room).incarnation).toBe(1);
  });

  it('is made again when the VM died under it', async () => {
    const id = await runningRoom();
    let calls = 0;
    host.on('POST invocations', (_asked, reply) => {
      calls += 1;
      if (calls > 1) return reply.header('alcove-source', 'agent').send({ calls });
      host.kill(id);
      throw new Problem('guest.closed');
    });
    const answer = await call('POST', `/v1/rooms/${id}/invocations`, { json: {} });
    expect([answer.status, await answer.json()]).toEqual([200, { calls: 2 }]);
  });

  it('ends when the room is put to sleep under it, and neither wakes the room nor runs again', async () => {
    const id = await runningRoom();
    let calls = 0;
    let cut: () => void = () => undefined;
    const pause = new Promise<void>((resolve) => (cut = resolve));
    host.on('POST invocations', async () => {
      calls += 1;
      await pause;
      throw new Problem('guest.closed', { detail: 'the room goes to sleep' });
    });
    const asking = call('POST', `/v1/rooms/${id}/invocations`, { json: {} });
    await until('the call is in the room', () => calls === 1);
    const release = host.hold('sealed');
    const hibernating = call('POST', `/v1/rooms/${id}/hibernate`);
    await until('it falls asleep', async () => (await stateOf(id)) === 'hibernating');
    cut();
    const ended = await asking;
    expect([ended.status, await codeOf(ended)]).toEqual([502, 'guest.closed']);
    release();
    expect((await hibernating).status).toBe(200);
    expect(Room.parse(await (await call('GET', `/v1/rooms/${id}`)).json())).toMatchObject({ state: 'hibernated', wanted: 'asleep', incarnation: 1 });
    expect(calls).toBe(1);
  });

  it('breaks off, and does not end well, when the answer does', async () => {
    const id = await runningRoom();
    host.on('POST invocations', (_asked, reply) => {
      reply.hijack();
      reply.raw.writeHead(200, { 'content-type': 'text/plain', 'alcove-source': 'agent' });
      reply.raw.write('half');
      setImmediate(() => reply.raw.destroy());
    });
    const answer = await call('POST', `/v1/rooms/${id}/invocations`, { json: {} });
    await expect(answer.text()).rejects.toThrow();
  });

  it('ends in the room when its caller goes away', async () => {
    const id = await runningRoom();
    let cancelled = false;
    let began: () => void = () => undefined;
    const begun = new Promise<void>((resolve) => (began = resolve));
    host.on('POST invocations', (_asked, reply) => {
      reply.hijack();
      reply.raw.writeHead(200, { 'content-type': 'text/plain', 'alcove-source': 'agent' });
      reply.raw.write('thinking');
      reply.raw.on('close', () => (cancelled = true));
      began();
    });
    const leave = new AbortController();
    const asking = call('POST', `/v1/rooms/${id}/invocations`, { json: {}, signal: leave.signal });
    await begun;
    leave.abort();
    await asking.then((answer) => answer.text()).catch(() => undefined);
    await until('the host hears of it', () => cancelled);
  });

  it('runs a command and sends its events', async () => {
    const id = await runningRoom();
    const lines = [{ event: 'start', pid: 7 }, { event: 'stdout', data: Buffer.from('hi\n').toString('base64') }, { event: 'exit', exitCode: 0, signal: null, timedOut: false, truncated: false }];
    let order: unknown;
    host.on('POST exec', async (asked, reply) => {
      order = JSON.parse((await bytesOf(asked)).toString());
      return reply.type('application/x-ndjson').send(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    });
    const answer = await call('POST', `/v1/rooms/${id}/exec`, { json: { command: ['echo', 'hi'] } });
    expect(answer.headers.get('content-type')).toBe('text/event-stream');
    expect((await firstEvents(answer, Infinity)).map((event) => event.data)).toEqual(lines);
    expect(order).toEqual({ command: ['echo', 'hi'], timeoutMs: 60_000, outputBytes: 16 << 20 });
    host.on('POST exec', () => {
      throw new Problem('exec.not_found');
    });
    expect((await call('POST', `/v1/rooms/${id}/exec`, { json: { command: ['nope'] } })).status).toBe(404);
  });

  it('writes and reads files as streams', async () => {
    const id = await runningRoom();
    let query: unknown;
    let size = 0;
    host.on('PUT files', async (asked) => {
      query = asked.query;
      size = (await bytesOf(asked)).length;
      return { size };
    });
    const written = await call('PUT', `/v1/rooms/${id}/files?path=a%20b&mode=0600`, { body: new Uint8Array(3 << 20), headers: { 'content-type': 'application/json' } });
    expect([written.status, await written.json()]).toEqual([200, { size: 3 << 20 }]);
    expect([query, size]).toEqual([{ path: 'a b', mode: '0600', makeParents: 'true' }, 3 << 20]);
    host.on('GET files', (_asked, reply) => reply.headers({ 'alcove-file-size': '4', 'content-type': 'text/html' }).send(Buffer.from('data')));
    const read = await call('GET', `/v1/rooms/${id}/files?path=x&offset=1`);
    expect(await read.text()).toBe('data');
    expect(Object.fromEntries(read.headers)).toMatchObject({ 'content-type': 'application/octet-stream', 'content-length': '4', 'alcove-file-size': '4', 'content-disposition': 'attachment' });
    host.on('GET files', () => {
      throw new Problem('file.not_found');
    });
    expect(await codeOf(await call('GET', `/v1/rooms/${id}/files?path=x`))).toBe('file.not_found');
  });

  it('answers a host that makes no sense with 502', async () => {
    const id = await runningRoom();
    host.on('GET files/stat', () => ({ surprising: true }));
    const answer = await call('GET', `/v1/rooms/${id}/files/stat?path=x`);
    expect([answer.status, await codeOf(answer)]).toEqual([502, 'guest.protocol']);
  });

  it('sends logs as text or as events', async () => {
    const id = await runningRoom();
    host.on('GET logs', (_asked, reply) => reply.type('application/octet-stream').send(Buffer.from('line é\n')));
    expect(await (await call('GET', `/v1/rooms/${id}/logs`)).text()).toBe('line é\n');
    const events = await firstEvents(await call('GET', `/v1/rooms/${id}/logs`, { headers: { accept: 'text/event-stream' } }), Infinity);
    expect(events).toEqual([{ id: undefined, event: 'log', data: { text: 'line é\n' } }]);
  });
});
