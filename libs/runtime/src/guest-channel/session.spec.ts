import { request, type IncomingMessage } from 'node:http';
import { duplexPair, Readable } from 'node:stream';
import { limits, silentLog } from '@alcove/base';
import { resetCodes, type ExecEvent, type ExecRequest } from '@alcove/contracts';
import { GuestPeer, ManualClock, peerFrame, type PeerService, type PeerStream } from '@alcove/testing';
import type { GuestSession } from '../guest-session';
import { openGuestSession } from './session';

const never = new AbortController().signal;
const settle = () => new Promise((resolve) => setImmediate(resolve));

async function withPeer(services: Record<string, PeerService>): Promise<{ session: GuestSession; peer: GuestPeer; clock: ManualClock }> {
  const [host, guest] = duplexPair();
  const peer = new GuestPeer(guest, services);
  const clock = new ManualClock();
  return { session: await openGuestSession(host, { clock, log: silentLog }), peer, clock };
}

const one = (answer: Record<string, string | number>): PeerService => (stream) => void stream.message(answer).end();
const command = (more: Partial<ExecRequest> = {}): ExecRequest => ({ command: ['true'], timeoutMs: 1000, outputBytes: 1 << 20, ...more });
async function collect(events: AsyncIterable<ExecEvent>): Promise<string[]> {
  const seen: string[] = [];
  for await (const event of events) seen.push('data' in event ? `${event.event} ${Buffer.from(event.data, 'base64').toString()}` : JSON.stringify(event));
  return seen;
}
/** The fields of every OPEN that the peer saw, as one string. */
const opens = (peer: GuestPeer) => peer.frames.filter((f) => f.type === peerFrame.open).map((f) => f.payload.toString('latin1'));

describe('the questions of the host', () => {
  it('claim, ready, stats', async () => {
    const fields: Map<string, string[]>[] = [];
    const { session, clock } = await withPeer({
      claim: (stream, asked) => {
        fields.push(asked);
        stream.message({ bootNonce: 'n', bootId: 'b', claim: 'c' }).end();
      },
      ready: one({ agentRunning: 1, cloneSafe: 0, version: '1.2.3' }),
      stats: one({ memTotal: 1, memAvailable: 2, processes: 3, load1: '0.25', diskTotal: 5, diskFree: 6, uptimeMs: 7 }),
    });
    const claim = { roomId: 'room_1', incarnation: 4, mode: 'fresh' as const, entropy: Buffer.alloc(64, 65), wallClockNs: 1_700_000_000_000_000_001n, machineId: 'a'.repeat(32), hostname: 'h', env: { A: '1', B: '2=3' } };
    expect(await session.claim(claim)).toEqual({ bootNonce: 'n', bootId: 'b' });
    expect(Object.fromEntries(fields[0] ?? [])).toEqual({
      svc: ['claim'], room: ['room_1'], incarnation: ['4'], mode: ['fresh'], entropy: ['A'.repeat(64)], wallClockNs: ['1700000000000000001'], machineId: ['a'.repeat(32)], hostname: ['h'], env: ['A=1', 'B=2=3'],
    });
    expect(await session.ready()).toEqual({ agentRunning: true, cloneSafe: false, version: '1.2.3' });
    expect(await session.stats()).toEqual({ memTotal: 1, memAvailable: 2, processes: 3, load1: 0.25, diskTotal: 5, diskFree: 6, uptimeMs: 7 });
    expect(clock.sleepers).toBe(0);
  });

  it('have a deadline, which ends the stream and not the session', async () => {
    const resets: string[] = [];
    const { session, clock } = await withPeer({ stats: (stream) => void (stream.onReset = (code) => resets.push(code)) });
    const asked = expect(session.stats()).rejects.toMatchObject({ code: 'guest.io' });
    clock.advance(limits.guest.statsMs);
    await asked;
    await session.ping(100);
    expect(resets).toEqual(['cancelled']);
    expect(clock.sleepers).toBe(0);
  });

  it('ping', async () => {
    const { session, peer, clock } = await withPeer({});
    await session.ping(100);
    peer.scan();
    const late = expect(session.ping(100)).rejects.toMatchObject({ code: 'guest.io' });
    clock.advance(100);
    await late;
    const closed = expect(session.ping(100)).rejects.toMatchObject({ code: 'guest.closed' });
    session.close();
    await closed;
    expect(clock.sleepers).toBe(0);
  });

  it('quiesce leaves the channel silent, resynchronise brings it back with new streams', async () => {
    const { session, peer } = await withPeer({
      quiesce: (stream) => {
        stream.message({ processes: 3 }).end();
        stream.peer.scan();
      },
      connect: () => undefined,
      stats: one({ memTotal: 1, memAvailable: 2, processes: 3, load1: 1, diskTotal: 5, diskFree: 6, uptimeMs: 7 }),
    });
    const socket = await session.connect(80, 0, never);
    const lost = expect(socket.toArray()).rejects.toMatchObject({ code: 'guest.closed' });
    await session.quiesce();
    await lost;
    await expect(session.stats()).rejects.toMatchObject({ code: 'guest.closed' });
    await expect(session.readFile({ path: 'x' }, never)).rejects.toMatchObject({ code: 'guest.closed' });
    await expect(collect(session.exec(command(), never))).rejects.toMatchObject({ code: 'guest.closed' });
    await session.resynchronise();
    await session.stats();
    expect(peer.syncs).toBe(2);
    expect(peer.frames.at(-2)?.stream).toBe(1);
  });
});

describe('exec', () => {
  const answer = (...steps: ((stream: PeerStream) => unknown)[]): PeerService => (stream) => steps.forEach((step) => step(stream));

  it('gives start, output in order, exit', async () => {
    const { session, peer } = await withPeer({
      exec: answer((s) => s.message({ pid: 7 }), (s) => s.bytes(Buffer.from('out')), (s) => s.bytes(Buffer.from('err'), 1), (s) => s.bytes(Buffer.from('more')), (s) => s.message({ exit: 3, truncated: 1 }).end()),
    });
    expect(await collect(session.exec(command({ command: 'ls', env: { A: 'b' }, cwd: '/tmp', user: 'root' }), never))).toEqual([
      '{"event":"start","pid":7}', 'stdout out', 'stderr err', 'stdout more', '{"event":"exit","exitCode":3,"signal":null,"timedOut":false,"truncated":true}',
    ]);
    expect(opens(peer)[0]).toMatch(/svc.{4}exec.*arg.{4}bash.*arg.{4}-lc.*arg.{4}ls.*env.{4}A=b.*cwd.{4}\/tmp.*user.{4}root.*timeoutMs.{4}1000.*outputLimit.{4}1048576$/s);
  });

  it('gives signals by name', async () => {
    const { session } = await withPeer({ exec: answer((s) => s.message({ pid: 7 }), (s) => s.message({ signal: 9, timedOut: 1 }).end()) });
    expect((await collect(session.exec(command(), never)))[1]).toBe('{"event":"exit","exitCode":null,"signal":"SIGKILL","timedOut":true,"truncated":false}');
  });

  it('sends stdin and ends it', async () => {
    const got: Buffer[] = [];
    const { session } = await withPeer({
      exec: (stream) => {
        stream.message({ pid: 1 });
        stream.onBytes = (bytes) => got.push(Buffer.from(bytes));
        stream.onEnd = () => stream.message({ exit: 0 }).end();
      },
    });
    const stdin = 'é'.repeat(500_000);
    await collect(session.exec(command({ stdin }), never));
    expect(Buffer.concat(got).toString() === stdin).toBe(true);
  });

  it('is cancelled by leaving the loop and by the signal, and leaves no timer', async () => {
    const resets: string[] = [];
    const { session, clock } = await withPeer({
      exec: (stream) => {
        stream.onReset = (code) => resets.push(code);
        stream.message({ pid: 1 }).bytes(Buffer.from('x'));
      },
    });
    for await (const event of session.exec(command(), never)) if (event.event === 'stdout') break;
    const stop = new AbortController();
    const running = expect(collect(session.exec(command(), stop.signal))).rejects.toThrow('stopped');
    await settle();
    stop.abort(new Error('stopped'));
    await running;
    await session.ping(1000);
    expect(resets).toEqual(['cancelled', 'cancelled']);
    await expect(collect(session.exec(command(), stop.signal))).rejects.toThrow('stopped');
    expect(clock.sleepers).toBe(0);
  });

  it('does not wait for ever for a guest that forgets the timeout', async () => {
    const { session, clock } = await withPeer({ exec: (stream) => void stream.message({ pid: 1 }) });
    const running = expect(collect(session.exec(command(), never))).rejects.toMatchObject({ code: 'guest.io' });
    await settle();
    clock.advance(1000 + limits.guest.execGraceMs);
    await running;
    expect(clock.sleepers).toBe(0);
  });

  it('does not take more output than it asked for', async () => {
    const { session } = await withPeer({ exec: (stream) => void stream.message({ pid: 1 }).bytes(Buffer.alloc(1000)) });
    await expect(collect(session.exec(command({ outputBytes: 999 }), never))).rejects.toMatchObject({ code: 'guest.limit' });
  });
});

describe('files', () => {
  const entry = (name: string, more: Record<string, string | number> = {}) => ({ name, kind: 'file', size: 5, mode: '644', mtimeMs: 1_700_000_000_123, uid: 1000, gid: 1000, ...more });

  it('stat, list, move, remove, make a folder', async () => {
    const { session, peer } = await withPeer({
      fileStat: one(entry('a', { kind: 'symlink', target: 'b' })),
      fileList: (stream, fields) => {
        for (let i = 0; i < Math.min(3, Number(fields.get('limit'))); i++) stream.message(entry(`f${i}`, { size: '9999999999999999999', mtimeMs: '9999999999999999999' }));
        stream.end();
      },
      fileMove: (stream) => void stream.end(),
      fileRemove: (stream) => void stream.end(),
      fileMakeDir: (stream) => void stream.end(),
    });
    expect(await session.statFile('a', never)).toEqual({ name: 'a', kind: 'symlink', size: 5, mode: '0644', modifiedAt: '2023-11-14T22:13:20.123Z', uid: 1000, gid: 1000, target: 'b' });
    expect(await session.listFiles({ path: '/', limit: 2 }, never)).toMatchObject({ truncated: true, entries: [{ name: 'f0', size: Number.MAX_SAFE_INTEGER, modifiedAt: '9999-12-31T23:59:59.000Z' }, { name: 'f1' }] });
    expect(await session.listFiles({ path: '/', limit: 3 }, never)).toMatchObject({ truncated: false });
    await session.moveFile('a', 'b', never);
    await session.removeFile('a', true, never);
    await session.removeFile('a', false, never);
    await session.makeFolder('a', { mode: '0700', user: 'root' }, never);
    const asked = opens(peer).slice(3).map((text) => text.replace(/[^ -~]+/g, ' ').trim());
    expect(asked).toEqual(['svc fileMove from a to b', expect.stringMatching(/path a recursive 1$/), expect.stringMatching(/path a$/), expect.stringMatching(/path a mode 0700 user root$/)]);
  });

  it('read: the head first, then the body', async () => {
    const { session } = await withPeer({ fileRead: (stream) => void stream.message({ size: 500_000, mode: '600', mtimeMs: 0 }).bytes(Buffer.alloc(500_000, 1)).end() });
    const { body, ...head } = await session.readFile({ path: 'a' }, never);
    expect(head).toEqual({ size: 500_000, mode: '0600', modifiedAt: '1970-01-01T00:00:00.000Z' });
    expect(Buffer.concat((await body.toArray()) as Buffer[]).equals(Buffer.alloc(500_000, 1))).toBe(true);
  });

  it('read: a body that nobody reads holds one window, and is cancelled by destroying it or by the signal', async () => {
    const resets: string[] = [];
    let sent = 0;
    const { session } = await withPeer({
      fileRead: (stream) => {
        stream.onReset = (code) => resets.push(code);
        stream.message({ size: 1, mode: '600', mtimeMs: 0 }).bytes(Buffer.alloc(10 << 20));
        sent = limits.channel.windowBytes - stream.credit;
      },
    });
    const stop = new AbortController();
    const first = await session.readFile({ path: 'a' }, never);
    const second = await session.readFile({ path: 'a' }, stop.signal);
    await session.ping(1000);
    expect(sent).toBe(limits.channel.windowBytes);
    first.body.destroy();
    stop.abort(new Error('stopped'));
    await expect(second.body.toArray()).rejects.toThrow('stopped');
    await session.ping(1000);
    expect(resets).toEqual(['cancelled', 'cancelled']);
  });

  it('read: no more than was asked for', async () => {
    const { session } = await withPeer({ fileRead: (stream) => void stream.message({ size: 10, mode: '600', mtimeMs: 0 }).bytes(Buffer.alloc(11)).end() });
    const { body } = await session.readFile({ path: 'a', length: 10 }, never);
    await expect(body.toArray()).rejects.toMatchObject({ code: 'guest.limit' });
  });

  it('write: as fast as the guest takes it', async () => {
    const got: Buffer[] = [];
    const { session } = await withPeer({
      fileWrite: (stream) => {
        stream.onBytes = (bytes) => got.push(Buffer.from(bytes));
        stream.onEnd = () => stream.message({ size: 1_000_000 }).end();
      },
    });
    expect(await session.writeFile({ path: 'a', makeParents: false }, Readable.from([Buffer.alloc(1_000_000, 3)]), never)).toEqual({ size: 1_000_000 });
    expect(Buffer.concat(got).equals(Buffer.alloc(1_000_000, 3))).toBe(true);
  });

  it('write: what the guest does not grant is not taken from the source', async () => {
    const [host, guest] = duplexPair();
    const peer = new GuestPeer(guest, { fileWrite: () => undefined }, { grants: false });
    const session = await openGuestSession(host, { clock: new ManualClock(), log: silentLog });
    let pulled = 0;
    const source = new Readable({
      highWaterMark: 1024,
      read() {
        pulled += 1024;
        this.push(Buffer.alloc(1024));
      },
    });
    const stop = new AbortController();
    const writing = expect(session.writeFile({ path: 'a', makeParents: true }, source, stop.signal)).rejects.toThrow('stopped');
    while (pulled < limits.channel.windowBytes) await settle();
    await session.ping(1000);
    expect(peer.frames.some((f) => f.type === peerFrame.end)).toBe(false);
    expect(pulled).toBeLessThan(limits.channel.windowBytes + 65_536);
    stop.abort(new Error('stopped'));
    await writing;
    expect(source.destroyed).toBe(true);
  });

  it('write: a guest that refuses frees the source, a source that fails resets the stream', async () => {
    const resets: string[] = [];
    const { session } = await withPeer({
      fileWrite: (stream, fields) => {
        stream.onReset = (code) => resets.push(code);
        if (fields.get('path')?.[0] === 'full') stream.reset('no_space', 'the disk\nis full');
      },
    });
    const endless = new Readable({ read: () => undefined });
    await expect(session.writeFile({ path: 'full', makeParents: true }, endless, never)).rejects.toMatchObject({ code: 'file.no_space', detail: 'the disk?is full' });
    expect(endless.destroyed).toBe(true);
    const failing = new Readable({ read: () => undefined });
    const written = expect(session.writeFile({ path: 'a', makeParents: true }, failing, never)).rejects.toThrow('source');
    failing.destroy(new Error('source'));
    await written;
    await session.ping(1000);
    expect(resets).toEqual(['cancelled']);
  });
});

describe('connect and logs', () => {
  const httpServer: PeerService = (stream) => {
    let asked = '';
    stream.onBytes = (bytes) => {
      asked += bytes.toString();
      if (asked.endsWith('{"a":1}')) stream.bytes(Buffer.from(`HTTP/1.1 200 OK\r\ncontent-length: ${asked.length}\r\nconnection: close\r\n\r\n${asked}`)).end();
    };
  };
  it('carries HTTP', async () => {
    const { session } = await withPeer({ connect: httpServer });
    const socket = await session.connect(8080, 10, never);
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const sent = request({ createConnection: () => socket, method: 'POST', path: '/invocations', headers: { host: 'room' } }, resolve);
      sent.on('error', reject);
      sent.end('{"a":1}');
    });
    expect(Buffer.concat((await answer.toArray()) as Buffer[]).toString()).toMatch(/^POST \/invocations HTTP\/1.1\r\nhost: room/);
  });

  it('ends both ways, each by itself', async () => {
    const { session } = await withPeer({
      connect: (stream) => {
        stream.onEnd = () => stream.bytes(Buffer.from('bye')).end();
      },
    });
    const socket = await session.connect(80, 0, never);
    socket.end('hello');
    expect(Buffer.concat((await socket.toArray()) as Buffer[]).toString()).toBe('bye');
  });

  it('is not thrown when nobody listens to it', async () => {
    const { session } = await withPeer({ connect: (stream) => void stream.reset('refused', 'nobody'), logs: () => undefined });
    const socket = await session.connect(80, 0, never);
    await session.logs({ follow: true, tailBytes: 10 }, never);
    await session.ping(100);
    session.close();
    await settle();
    expect(socket.errored).toMatchObject({ code: 'agent.unreachable' });
  });

  it('follows the logs until it is stopped', async () => {
    const { session } = await withPeer({ logs: (stream) => void stream.bytes(Buffer.from('line\n')) });
    const stop = new AbortController();
    const lines = await session.logs({ follow: true, tailBytes: 0 }, stop.signal);
    for await (const bytes of lines) {
      expect(String(bytes)).toBe('line\n');
      break;
    }
  });
});

describe('a RESET of the guest', () => {
  const codeOf = async (work: Promise<unknown>) => work.then(() => 'none', (error: { code: string }) => error.code);
  it.each(resetCodes.map((code) => [code]))('%s has a Problem for every service', async (code) => {
    const reset: PeerService = (stream) => void stream.reset(code, 'why');
    const { session } = await withPeer({ fileStat: reset, exec: reset, connect: reset, stats: reset });
    const seen = [
      await codeOf(session.statFile('a', never)),
      await codeOf(collect(session.exec(command(), never))),
      await codeOf(session.connect(1, 0, never).then((socket) => socket.toArray())),
      await codeOf(session.stats()),
    ].join(' ');
    expect(seen).toBe(expected[code]);
    await session.ping(100);
  });
  const expected: Record<string, string> = {
    cancelled: 'guest.closed guest.closed guest.closed guest.closed',
    busy: 'guest.limit guest.limit guest.limit guest.limit',
    flow: 'guest.io guest.io guest.io guest.io',
    protocol: 'guest.io guest.io guest.io guest.io',
    not_found: 'file.not_found exec.not_found file.not_found guest.io',
    denied: 'file.denied file.denied agent.unreachable guest.io',
    exists: 'file.exists file.exists file.exists file.exists',
    not_a_directory: 'file.kind file.kind file.kind file.kind',
    is_a_directory: 'file.kind file.kind file.kind file.kind',
    not_empty: 'file.not_empty file.not_empty file.not_empty file.not_empty',
    no_space: 'file.no_space file.no_space file.no_space file.no_space',
    io: 'guest.io guest.io agent.unreachable guest.io',
    timeout: 'guest.io guest.io agent.timeout guest.io',
    limit: 'guest.limit guest.limit guest.limit guest.limit',
    unsupported: 'file.kind guest.unsupported guest.unsupported guest.unsupported',
    invalid: 'request.invalid request.invalid request.invalid guest.io',
    refused: 'guest.io guest.io agent.unreachable guest.io',
  };
});
