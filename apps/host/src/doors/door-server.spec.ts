import { type Duplex, duplexPair } from 'node:stream';
import { silentLog } from '@alcove/base';
import { type DoorAnswer, type DoorCall, Problem } from '@alcove/contracts';
import { ManualClock } from '@alcove/testing';
import fc from 'fast-check';
import { DoorServer } from './door-server';
import { MinuteCount } from './minute-count';
import { RoomDoors } from './room-doors';

const seed = 20261126;
const host = 'memory.alcove.internal';
const key = { roomId: 'room_00000000000000000001', incarnation: 3 };

/** A guest whose programs connect, and a control plane that says what it was asked. */
function world(options: { answer?: (call: DoorCall, signal: AbortSignal) => Promise<DoorAnswer>; open?: () => Promise<Duplex>; requests?: number } = {}) {
  const clock = new ManualClock();
  const calls: DoorCall[] = [];
  const told: DoorAnswer = { status: 200, headers: { 'content-type': 'application/json' }, body: '{"ok":true}' };
  const server = new DoorServer({
    ask: async (_room, call, signal) => {
      calls.push(call);
      return options.answer ? options.answer(call, signal) : told;
    },
    clock,
    log: silentLog,
  });
  const room = { key, check: () => undefined as void };
  const connect = () => {
    const [program, connection] = duplexPair();
    for (const [one, other] of [[program, connection], [connection, program]] as const) {
      one.on('error', () => undefined);
      one.once('close', () => other.destroy());
    }
    const held = server.take(connection, { ...room, requests: new MinuteCount(options.requests ?? 600) });
    return { program, held };
  };
  return { clock, calls, server, room, connect };
}
/** Programs that ask for much and read nothing. `held`: waits until so many answers were made. */
function slowReaders() {
  const { connect, calls } = world({ answer: async () => ({ status: 200, headers: {}, body: 'x'.repeat(1 << 20) }) });
  const held = async (count: number) => {
    while (calls.length < count) await new Promise((next) => setImmediate(next));
  };
  return { connect, held };
}
async function all(program: Duplex): Promise<string> {
  const chunks: Buffer[] = [];
  program.on('data', (chunk: Buffer) => chunks.push(chunk));
  await new Promise((resolve) => program.once('end', resolve).once('close', resolve));
  return Buffer.concat(chunks).toString('latin1');
}
/** Reads until so many answers have come. */
async function answers(program: Duplex, count: number): Promise<string> {
  let text = '';
  return new Promise((resolve, reject) => {
    program.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if ((text.match(/HTTP\/1\.1 \d+[^]*?\r\n\r\n\{[^]*?\}/g) ?? []).length >= count) resolve(text);
    });
    program.once('close', () => reject(new Error(`closed after: ${text}`)));
  });
}
const get = `GET /v1/memory HTTP/1.1\r\nhost: ${host}\r\n\r\n`;
const post = (body: string, headers = '') => `POST /v1/memory/search HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\n${headers}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;

describe('a connection of a program', () => {
  it('is answered, request after request', async () => {
    const { calls, connect } = world();
    const { program } = connect();
    program.write(post('{"query":"tea"}'));
    await answers(program, 1);
    program.write(get);
    const text = await answers(program, 1);
    expect(text).toMatch(/^HTTP\/1.1 200 OK\r\ncontent-type: application\/json\r\ncontent-length: 11\r\n/i);
    expect(calls).toMatchObject([{ route: 'search', body: '{"query":"tea"}' }, { route: 'list', body: null }]);
  });
  it('goes on after a refusal, and says why as a problem', async () => {
    const { calls, connect } = world();
    const { program } = connect();
    program.write(get.replace('/v1/memory', '/v1/rooms'));
    expect(await answers(program, 1)).toMatch(/^HTTP\/1.1 404[^]*application\/problem\+json[^]*request.unknown_route/);
    program.write(get);
    await answers(program, 1);
    expect(calls).toHaveLength(1);
  });
  it.each([
    ['no HTTP at all', '\x00\x01\x02 nothing\r\n\r\n'],
    ['TLS', '\x16\x03\x01\x02\x00\x01'],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['two lengths', `POST /mcp HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\ncontent-length: 2\r\ncontent-length: 4\r\n\r\n{}{}`],
    ['a length and chunks', `POST /mcp HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['an unknown coding', `POST /mcp HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\ntransfer-encoding: xchunked\r\n\r\n{}`],
    ['a bare line feed', `GET /v1/memory HTTP/1.1\nhost: ${host}\n\n`],
    ['a space before the colon', `GET /v1/memory HTTP/1.1\r\nhost : ${host}\r\n\r\n`],
    ['a folded header', `GET /v1/memory HTTP/1.1\r\nhost: ${host}\r\naccept: a\r\n b\r\n\r\n`],
    ['a bad chunk', `POST /mcp HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n`],
    ['headers without end', `GET /v1/memory HTTP/1.1\r\nhost: ${host}\r\n${'x: yyyyyyyyyyyyyyyy\r\n'.repeat(2000)}`],
    ['no host', 'GET /v1/memory HTTP/1.1\r\n\r\n'],
    ['a tunnel', `CONNECT ${host}:80 HTTP/1.1\r\nhost: ${host}\r\n\r\n`],
  ])('ends after %s, and nothing was asked', async (_what, bytes) => {
    const { calls, connect, clock } = world();
    const { program } = connect();
    const heard = all(program);
    program.write(Buffer.from(bytes, 'latin1'));
    program.end();
    for (let round = 0; round < 20; round += 1) await new Promise((next) => setImmediate(next));
    clock.advance(20_000);
    expect(await heard).toMatch(/^$|^HTTP\/1.1 (400|404|431) /);
    expect(calls).toHaveLength(0);
  });
  it('ends when a second request comes before the first is answered', async () => {
    const { calls, connect } = world({ answer: () => new Promise(() => undefined) });
    const { program, held } = connect();
    program.write(get + get);
    await held.closed;
    expect(calls.length).toBeLessThan(2);
  });
  it('has a bound on bodies whatever length was said, and ends then', async () => {
    const { calls, connect } = world();
    const { program, held } = connect();
    const heard = all(program);
    program.write(`POST /mcp HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n`);
    const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`;
    for (let sent = 0; sent < 18 && !program.destroyed; sent += 1) await new Promise<void>((next) => program.write(chunk, () => next()));
    expect(await Promise.race([heard, held.closed.then(() => '')])).toMatch(/^$|^HTTP\/1.1 413 /);
    expect(calls).toHaveLength(0);
  });
  it('takes bodies in UTF-8 only', async () => {
    const { calls, connect } = world();
    const { program } = connect();
    program.write(Buffer.concat([Buffer.from(post('{}').replace('content-length: 2', 'content-length: 3').slice(0, -2)), Buffer.from([0x22, 0xff, 0x22])]));
    expect(await answers(program, 1)).toMatch(/^HTTP\/1.1 400[^]*UTF-8/);
    expect(calls).toHaveLength(0);
  });
  it('is let go when nothing comes, when half a request comes, and when it stays idle', async () => {
    for (const sent of ['', get.slice(0, 20), post('{"query":"x"}').slice(0, -4), get]) {
      const { clock, connect } = world();
      const { program, held } = connect();
      if (sent !== '') program.write(sent);
      if (sent === get) await answers(program, 1);
      else for (let round = 0; round < 5; round += 1) await new Promise((next) => setImmediate(next));
      clock.advance(61_000);
      await held.closed;
    }
  });
  it('is one of so many of its room at once, however its program dawdles over answers', async () => {
    const { connect, held } = slowReaders();
    const readers = Array.from({ length: 8 }, () => connect());
    for (const { program } of readers) program.write(get);
    await held(8);
    const more = connect();
    more.program.write(get);
    expect(await answers(more.program, 1)).toMatch(/^HTTP\/1.1 429[^]*request.concurrency/);
    readers[0]?.program.destroy();
    await readers[0]?.held.closed;
    more.program.write(get);
    await held(9);
  });
  it('is told to wait when the room asks too often', async () => {
    const { calls, connect } = world({ requests: 1 });
    const { program } = connect();
    program.write(get);
    await answers(program, 1);
    program.write(get);
    expect(await answers(program, 1)).toMatch(/^HTTP\/1.1 429[^]*retry-after: 60/i);
    expect(calls).toHaveLength(1);
  });
  it('learns that the control plane cannot be reached, and no more', async () => {
    const { connect } = world({ answer: async () => Promise.reject(new Error('connect ECONNREFUSED 10.1.2.3:443')) });
    const { program } = connect();
    program.write(get);
    const text = await answers(program, 1);
    expect(text).toMatch(/^HTTP\/1.1 503/);
    expect(text).not.toContain('10.1.2.3');
  });
  it('never brings a request about from anything but one, however bytes are strewn about', async () => {
    const pieces = fc.constantFrom('GET ', 'POST ', '/mcp', '/v1/memory', ' HTTP/1.1', '\r\n', '\n', '\r', `host: ${host}`, 'content-length: 5', 'transfer-encoding: chunked', 'content-type: application/json', '5', '0', '{}', ':', ' ', '\t', '\0', 'x'.repeat(300), get);
    await fc.assert(
      fc.asyncProperty(fc.array(pieces, { maxLength: 24 }), async (parts) => {
        const { calls, connect, clock } = world();
        const { program, held } = connect();
        const heard = all(program);
        const sent = parts.join('');
        program.write(sent);
        program.end();
        for (let round = 0; round < 4; round += 1) await new Promise((next) => setImmediate(next));
        clock.advance(61_000);
        await held.closed;
        await heard;
        expect(calls.length).toBeLessThanOrEqual((sent.match(/(GET|POST) [^ ]* HTTP\/1\.1\r\n/g) ?? []).length);
      }),
      { seed, numRuns: 300 },
    );
  });
});

describe('the doors of a room', () => {
  /** A guest whose programs connect one after the other. */
  function guest() {
    const waiting: ((connection: Duplex) => void)[] = [];
    let opened = 0;
    const openDoor = (_names: readonly string[], signal: AbortSignal): Promise<Duplex> => {
      opened += 1;
      return new Promise((resolve, reject) => {
        waiting.push(resolve);
        signal.addEventListener('abort', () => {
          waiting.splice(0, waiting.length, ...waiting.filter((one) => one !== resolve));
          reject(signal.reason as Error);
        }, { once: true });
      });
    };
    const connect = async (): Promise<Duplex> => {
      while (waiting.length === 0) await new Promise((next) => setImmediate(next));
      const [program, connection] = duplexPair();
      for (const [one, other] of [[program, connection], [connection, program]] as const) {
        one.on('error', () => undefined);
        one.once('close', () => other.destroy());
      }
      waiting.shift()?.(connection);
      return program;
    };
    return { openDoor, connect, opened: () => opened, waiting };
  }
  it('wait for one connection at a time, and hold no more than so many', async () => {
    const { server, room, clock } = world();
    const { openDoor, connect, waiting } = guest();
    const held = new RoomDoors({ guest: { openDoor }, server, clock, log: silentLog }, room);
    const programs: Duplex[] = [];
    for (let count = 0; count < 16; count += 1) programs.push(await connect());
    for (let round = 0; round < 5; round += 1) await new Promise((next) => setImmediate(next));
    expect(waiting).toHaveLength(0);
    programs[0]?.destroy();
    programs.push(await connect());
    held.end();
  });
  it('let what is under way be answered before a sleep, end the rest, and are there again', async () => {
    let reply: (answer: DoorAnswer) => void = () => undefined;
    const { server, room, clock, calls } = world({ answer: () => new Promise((resolve) => (reply = resolve)) });
    const { openDoor, connect } = guest();
    const held = new RoomDoors({ guest: { openDoor }, server, clock, log: silentLog }, room);
    const [idle, busy, slow] = [await connect(), await connect(), await connect()];
    const ends = [idle, busy, slow].map((program) => all(program));
    busy.write(get);
    while (calls.length < 1) await new Promise((next) => setImmediate(next));
    const replyToBusy = reply;
    slow.write(get);
    while (calls.length < 2) await new Promise((next) => setImmediate(next));
    let paused = false;
    const pausing = held.pause().then(() => (paused = true));
    expect(await ends[0]).toBe('');
    replyToBusy({ status: 200, headers: {}, body: '{"in":"time"}' });
    expect(await ends[1]).toMatch(/connection: close[^]*\{"in":"time"\}$/i);
    expect(paused).toBe(false);
    clock.advance(1_000);
    await pausing;
    expect(await ends[2]).toBe('');
    held.resume();
    const again = await connect();
    again.write(get);
    while (calls.length < 3) await new Promise((next) => setImmediate(next));
    held.end();
  });
  it('are not a way to keep a host busy: a guest that connects and leaves without end is slowed down', async () => {
    const { server, room, clock } = world();
    let opened = 0;
    const openDoor = async () => {
      opened += 1;
      const [program, connection] = duplexPair();
      connection.on('error', () => undefined);
      program.destroy();
      connection.destroy();
      return connection;
    };
    const held = new RoomDoors({ guest: { openDoor }, server, clock, log: silentLog }, room);
    for (let turn = 0; turn < 3_000; turn += 1) await new Promise((next) => setImmediate(next));
    expect(opened).toBe(600);
    clock.advance(60_000);
    while (opened < 601) await new Promise((next) => setImmediate(next));
    held.end();
  });
  it('ask a guest that is too old once, and one whose port is taken again later', async () => {
    for (const [code, times] of [['guest.unsupported', 1], ['guest.limit', 3]] as const) {
      const { server, room, clock } = world();
      let asked = 0;
      const openDoor = async () => {
        asked += 1;
        throw new Problem(code);
      };
      const held = new RoomDoors({ guest: { openDoor }, server, clock, log: silentLog }, room);
      for (let round = 0; round < 2; round += 1) {
        for (let turn = 0; turn < 5; turn += 1) await new Promise((next) => setImmediate(next));
        clock.advance(30_000);
      }
      for (let turn = 0; turn < 5; turn += 1) await new Promise((next) => setImmediate(next));
      expect(asked).toBe(times);
      held.end();
    }
  });
});
