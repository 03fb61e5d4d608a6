import { duplexPair, PassThrough, type Duplex, Readable } from 'node:stream';
import { limits, seededRandom, silentLog } from '@alcove/base';
import { isProblem, type ExecRequest, ProcessStart } from '@alcove/contracts';
import { GuestPeer, ManualClock, peerEncode, type PeerFields, peerFields, peerFrame, type PeerService, type PeerStream } from '@alcove/testing';
import fc from 'fast-check';
import type { GuestSession } from '../guest-session';
import { encodeFrame, encodeHead, encodeWindow, frameTypes } from './frames';
import { Mux } from './mux';
import { openGuestSession } from './session';
import type { StreamEvents } from './stream';

const never = new AbortController().signal;
const settle = () => new Promise((resolve) => setImmediate(resolve));
const command: ExecRequest = { command: ['true'], timeoutMs: 1000, outputBytes: 1 << 30 };
const kept = ProcessStart.parse({ command: ['true'] });

interface Staged {
  session: GuestSession;
  peer: GuestPeer;
  channel: Duplex;
}
async function stage(services: Record<string, PeerService> = {}): Promise<Staged> {
  const [channel, guest] = duplexPair();
  const peer = new GuestPeer(guest, services);
  return { session: await openGuestSession(channel, { clock: new ManualClock(), log: silentLog }), peer, channel };
}
async function drain(events: AsyncIterable<unknown>): Promise<void> {
  for await (const event of events) void event;
}
/** The session has ended with this code, and so does everything asked of it afterwards. */
async function expectClosed({ session, channel }: Staged, code: string): Promise<void> {
  expect(await session.closed).toMatchObject({ code });
  expect(channel.destroyed).toBe(true);
  await expect(session.ping(10)).rejects.toMatchObject({ code });
  await expect(session.statFile('x', never)).rejects.toMatchObject({ code });
}

describe('a guest that breaks the rules of frames', () => {
  const data = (stream: number, payload: Buffer, lane = 0) => Buffer.concat([encodeHead(payload.length, stream, frameTypes.data, lane), payload]);
  it.each<[string, Buffer]>([
    ['garbage', Buffer.alloc(64, 0xa5)],
    ['a huge frame', encodeHead(0x7fff_ffff, 1, frameTypes.data, 0)],
    ['a second answer to the sync', Buffer.from('ffffffff414c434f56452f310d0a1a00', 'hex')],
    ['an OPEN with an odd number', peerEncode(peerFrame.open, 7, peerFields({ svc: 'x' }))],
    ['an OPEN with a used number', Buffer.concat([4, 4].map((id) => peerEncode(peerFrame.open, id, peerFields({ svc: 'x' }))))],
    ['an OPEN that is no fields', peerEncode(peerFrame.open, 2, Buffer.from([200]))],
    ['a RESET that is no fields', encodeFrame(1, frameTypes.reset, Buffer.from([200]))],
    ['a RESET with an unknown code', encodeFrame(1, frameTypes.reset, peerFields({ code: 'whatever' }))],
    ['a RESET without a code', encodeFrame(1, frameTypes.reset)],
    ['a message that is no fields', data(1, Buffer.from([0]), 2)],
    ['a message that was not asked for', data(1, peerFields({ pid: 1 }), 2)],
    ['bytes on stderr of a connection', data(1, Buffer.from('x'), 1)],
    ['more credit than a window', encodeWindow(1, 1)],
    ['more bytes than the window', Buffer.concat(Array.from({ length: 5 }, () => data(1, Buffer.alloc(60_000))))],
  ])('%s', async (_name, bytes) => {
    const staged = await stage({ connect: () => undefined });
    const socket = await staged.session.connect(80, 0, never);
    await settle();
    staged.peer.send(bytes);
    await expectClosed(staged, 'guest.protocol');
    expect(socket.errored).toMatchObject({ code: 'guest.protocol' });
  });
});

describe('a guest that breaks the rules of a service', () => {
  const file = { name: 'a', kind: 'file', size: 5, mode: '644', mtimeMs: 0, uid: 0, gid: 0 };
  const say = (...answers: PeerFields[]): PeerService => (stream) => {
    for (const answer of answers) stream.message(answer);
    stream.end();
  };
  const pull = async (session: GuestSession) => (await session.readFile({ path: 'x' }, never)).body.resume();
  it.each<[string, PeerService, (session: GuestSession) => Promise<unknown>]>([
    ['no answer', say(), (s) => s.statFile('x', never)],
    ['two answers', say(file, file), (s) => s.statFile('x', never)],
    ['a wrong kind', say({ ...file, kind: 'door' }), (s) => s.statFile('x', never)],
    ['a wrong mode', say({ ...file, mode: 'rwx' }), (s) => s.statFile('x', never)],
    ['a wrong size', say({ ...file, size: '-1' }), (s) => s.statFile('x', never)],
    ['a name that is too long', say({ ...file, name: 'x'.repeat(5000) }), (s) => s.statFile('x', never)],
    ['an answer to an order', say(file), (s) => s.moveFile('a', 'b', never)],
    ['bytes for a question', (stream) => void stream.bytes(Buffer.from('x')), (s) => s.statFile('x', never)],
    ['a file without a head', (stream) => void stream.end(), pull],
    ['a file with a wrong head', say({ size: 1 }), pull],
    ['a file that is written before it was sent', say({ size: 1 }), (s) => s.writeFile({ path: 'x', makeParents: true }, new Readable({ read: () => undefined }), never)],
    ['a command without a pid', say({ exit: 0 }), (s) => drain(s.exec(command, never))],
    ['a command without an exit', say({ pid: 1 }), (s) => drain(s.exec(command, never))],
    ['a command with two exits', say({ pid: 1 }, { exit: 0 }, { exit: 0 }), (s) => drain(s.exec(command, never))],
    ['a kept process without a pid', say({ exit: 0 }), (s) => drain(s.startProcess(kept, never))],
    ['a kept process without an exit', say({ pid: 1 }), (s) => drain(s.attachProcess({ pid: 1 }, never))],
    ['a kept process with two exits', say({ pid: 1 }, { signal: 9 }, { exit: 0 }), (s) => drain(s.attachProcess({ pid: 1 }, never))],
    ['an exit that is no number', say({ pid: 1 }, { exit: '-1' }), (s) => drain(s.attachProcess({ pid: 1 }, never))],
    ['a process without a user', say({ pid: 1 }), (s) => s.listProcesses(never)],
    ['a process with two tags', say({ pid: 1, user: 'u', tag: ['a', 'b'] }), (s) => s.listProcesses(never)],
    ['a process with a tag that is too long', say({ pid: 1, user: 'u', tag: 'x'.repeat(1025) }), (s) => s.listProcesses(never)],
    ['a variable without a name', say({ pid: 1, user: 'u', env: ['=x'] }), (s) => s.listProcesses(never)],
    ['a variable without a value', say({ pid: 1, user: 'u', env: ['x'] }), (s) => s.listProcesses(never)],
    ['bytes in a list of processes', (stream) => void stream.bytes(Buffer.from('x')), (s) => s.listProcesses(never)],
    ['input that is taken before it was sent', (stream) => void stream.end(), (s) => s.writeProcess({ pid: 1 }, Buffer.alloc(1 << 20), { close: true }, never)],
    ['an answer to input', say({ pid: 1 }), (s) => s.writeProcess({ pid: 1 }, Buffer.alloc(1 << 20), { close: true }, never)],
    ['an answer to a signal', say({ pid: 1 }), (s) => s.signalProcess({ pid: 1 }, 9, never)],
    ['an answer to a new size', say({ pid: 1 }), (s) => s.resizeProcess({ pid: 1 }, { cols: 1, rows: 1 }, never)],
    ['a watch that ends', say({}), (s) => drain(s.watchFiles('x', { recursive: true }, never))],
    ['a change of no kind', say({}, { name: 'a', change: 'explode' }), (s) => drain(s.watchFiles('x', { recursive: true }, never))],
    ['a change without a name', say({}, { change: 'write' }), (s) => drain(s.watchFiles('x', { recursive: true }, never))],
    ['a change with a name that is too long', say({}, { name: 'x'.repeat(4097), change: 'write' }), (s) => drain(s.watchFiles('x', { recursive: true }, never))],
    ['bytes of a watch', (stream) => void stream.bytes(Buffer.from('x')), (s) => drain(s.watchFiles('x', { recursive: true }, never))],
    ['metadata without a key', say({ ...file, meta: ['=x'] }), (s) => s.statFile('x', never)],
    ['too much metadata', say({ ...file, meta: ['k=' + 'x'.repeat(20_000)] }), (s) => s.statFile('x', never)],
    ['an owner that is too long', say({ ...file, owner: 'x'.repeat(300) }), (s) => s.statFile('x', never)],
    ['figures that are no numbers', say({ memTotal: 'a lot' }), (s) => s.stats()],
  ])('%s', async (_name, service, ask) => {
    const staged = await stage({ fileStat: service, fileMove: service, fileRead: service, fileWrite: service, exec: service, stats: service, attach: service, processes: service, input: service, signal: service, resize: service, watch: service });
    await expect(ask(staged.session)).rejects.toMatchObject({ code: 'guest.protocol' });
    await expectClosed(staged, 'guest.protocol');
  });
});

describe('a guest that never stops', () => {
  const entry = { name: 'a', kind: 'file', size: 5, mode: '644', mtimeMs: 0, uid: 0, gid: 0 };
  it('listing files', async () => {
    const staged = await stage({
      fileList: (stream) => {
        for (let i = 0; i < 10; i++) stream.message({ ...entry, name: String(i) });
      },
    });
    await expect(staged.session.listFiles({ path: '/', limit: 5 }, never)).rejects.toMatchObject({ code: 'guest.limit' });
    await expectClosed(staged, 'guest.limit');
  });

  it('listing long names', async () => {
    const staged = await stage({
      fileList: (stream) => {
        const more = () => {
          stream.message({ ...entry, name: 'n'.repeat(4000) });
          if (!staged.channel.destroyed) setImmediate(more);
        };
        more();
      },
    });
    await expect(staged.session.listFiles({ path: '/', limit: 10_000 }, never)).rejects.toMatchObject({ code: 'guest.limit' });
  });

  it.each<[string, Buffer]>([
    ['sending to streams that nobody opened', encodeFrame(99, frameTypes.end)],
    ['sending empty data', encodeHead(0, 1, frameTypes.data, 0)],
    ['granting nothing', encodeWindow(1, 0)],
    ['answering pings that nobody sent', encodeFrame(0, frameTypes.pong, Buffer.alloc(64))],
    ['sending pings', encodeFrame(0, frameTypes.ping, Buffer.alloc(64))],
  ])('%s', async (_name, frame) => {
    const staged = await stage({ connect: () => undefined });
    await staged.session.connect(80, 0, never);
    await settle();
    const flood = Buffer.concat(Array.from({ length: 4096 }, () => frame));
    for (let i = 0; i < 200 && !staged.channel.destroyed; i++) {
      staged.peer.send(flood);
      await settle();
    }
    await expectClosed(staged, 'guest.limit');
  });

  it.each([[1], [20_000]])('pinging without reading the answers, %i at a time', async (atOnce) => {
    const problems: Error[] = [];
    const stuck = new PassThrough({ highWaterMark: 1 });
    const mux = new Mux(stuck, (problem) => {
      problems.push(problem);
      mux.fail(problem);
    });
    const pings = Buffer.concat(Array.from({ length: atOnce }, () => encodeFrame(0, frameTypes.ping, Buffer.alloc(64))));
    for (let i = 0; i < 20_000 / atOnce; i++) {
      mux.receive(pings);
      await Promise.resolve();
    }
    await settle();
    expect(problems).toHaveLength(1);
    expect(isProblem(problems[0], 'guest.limit')).toBe(true);
    expect(stuck.writableLength + stuck.readableLength).toBeLessThan(limits.channel.controlBytes);
  });
});

describe('a guest that was told to stop', () => {
  it('may still send what was under way, on any number of cancelled streams', async () => {
    const { session, peer } = await stage({ fileRead: (stream) => void stream.message({ size: 1, mode: '600', mtimeMs: 0 }) });
    for (let i = 0; i < 50; i++) {
      const { body } = await session.readFile({ path: 'x' }, never);
      body.destroy();
      const late = encodeHead(1000, 1 + 2 * i, frameTypes.data, 0);
      for (let j = 0; j < 250; j++) peer.send(Buffer.concat([late, Buffer.alloc(1000)]));
    }
    await session.ping(1000);
  });
});

it('the host opens no more than 256 streams at once, and each number once', async () => {
  const { session, peer } = await stage({ connect: () => undefined });
  const sockets = await Promise.all(Array.from({ length: limits.channel.streams }, () => session.connect(80, 0, never)));
  await expect(session.connect(80, 0, never)).rejects.toMatchObject({ code: 'guest.limit' });
  sockets[0]?.destroy();
  await session.connect(80, 0, never);
  await settle();
  const ids = peer.frames.filter((f) => f.type === peerFrame.open).map((f) => f.stream);
  expect(ids).toEqual(Array.from({ length: limits.channel.streams + 1 }, (_, i) => 1 + 2 * i));
});

describe('fuzzing a mux with open streams', () => {
  const events: StreamEvents = { answers: 'bytes-and-stderr', readable: () => undefined, message: () => undefined, ended: () => undefined, failed: () => undefined };
  /** What became of the mux: nothing, or the code of the Problem it was broken with. */
  function feed(bytes: Buffer, seed: number): string {
    let broken = 'none';
    const mux = new Mux(new PassThrough().resume(), (problem) => {
      broken = isProblem(problem) ? problem.code : `threw ${String(problem)}`;
      mux.fail(problem);
    });
    for (let i = 0; i < 4; i++) mux.open([['svc', 'x']], events, 'exec');
    const random = seededRandom(seed);
    for (let at = 0; at < bytes.length; ) {
      const end = at + 1 + random.below(100);
      mux.receive(Buffer.from(bytes.subarray(at, end)));
      at = end;
    }
    return broken;
  }
  const id = fc.integer({ min: 1, max: 8 });
  const bytes = fc.uint8Array({ maxLength: 100 }).map((b) => Buffer.from(b));
  const frame = fc.oneof(
    fc.tuple(id, bytes).map(([stream, payload]) => Buffer.concat([encodeHead(payload.length, stream, frameTypes.data, payload.length % 2), payload])),
    id.map((stream) => peerEncode(peerFrame.data, stream, peerFields({ pid: 4 }), 2)),
    id.map((stream) => encodeFrame(stream, frameTypes.end)),
    id.map((stream) => encodeFrame(stream, frameTypes.reset, peerFields({ code: 'io', detail: 'd' }))),
    bytes.map((payload) => encodeFrame(0, frameTypes.ping, payload.subarray(0, 64))),
  );
  const frames = fc.array(frame, { maxLength: 40 }).map((list) => Buffer.concat(list));

  it('valid frames in any order break nothing', () => {
    fc.assert(
      fc.property(frames, fc.integer(), (valid, seed) => {
        expect(feed(valid, seed)).toBe('none');
      }),
      { seed: 20250701, numRuns: 200 },
    );
  });

  it('mutated frames break the session by its two codes and in no other way, however they are cut', () => {
    const changes = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(frames, changes, fc.integer(), (valid, list, seed) => {
        const mutated = Buffer.from(valid);
        for (const [at, value] of list) if (mutated.length > 0) mutated[at % mutated.length] = value;
        const outcome = feed(mutated, seed);
        expect(['none', 'guest.protocol', 'guest.limit']).toContain(outcome);
        expect(feed(mutated, seed + 1)).toBe(outcome);
      }),
      { seed: 20250702, numRuns: 600 },
    );
  });
});

describe('fuzzing the services of kept processes and watches', () => {
  /** Fields as the guest may send them: known names with known, near and wild values, in lists too. */
  const value = fc.oneof(fc.constantFrom('', '0', '1', '9', '-1', '1.5', 'a', 'a=b', '=', 'create', 'write', 'file', 'directory', '644', '99999999999999999999', '\u{1f4a9}', 'x'.repeat(5000)), fc.string({ maxLength: 20 }));
  const name = fc.constantFrom('pid', 'exit', 'signal', 'timedOut', 'truncated', 'tag', 'user', 'cwd', 'pty', 'arg', 'env', 'name', 'change', 'kind', 'size', 'mode', 'mtimeMs', 'uid', 'gid', 'owner', 'group', 'target', 'meta', 'zzz');
  const wild = fc.dictionary(name, fc.oneof({ arbitrary: value, weight: 4 }, { arbitrary: fc.array(value, { maxLength: 3 }), weight: 1 }), { maxKeys: 8 });
  const good = fc.constantFrom<PeerFields>({}, { pid: 4 }, { exit: 0 }, { signal: 9, timedOut: 1 }, { name: 'a', change: 'write' }, { pid: 4, user: 'user', arg: ['a'], env: ['A=b'] }, { name: 'a/b', kind: 'file', size: 1, mode: '600', mtimeMs: 0, uid: 0, gid: 0, owner: 'u', group: 'g', meta: ['a=b'] });
  const step = fc.oneof(
    { arbitrary: fc.oneof(wild, good).map((fields) => (stream: PeerStream) => void stream.message(fields)), weight: 6 },
    { arbitrary: fc.tuple(fc.uint8Array({ maxLength: 50 }), fc.constantFrom(0, 1)).map(([bytes, lane]) => (stream: PeerStream) => void stream.bytes(Buffer.from(bytes), lane)), weight: 2 },
    { arbitrary: fc.constantFrom('not_found', 'invalid', 'limit', 'nonsense').map((code) => (stream: PeerStream) => void stream.reset(code)), weight: 1 },
  );
  const asks: [string, (session: GuestSession) => Promise<unknown>][] = [
    ['exec', (s) => drain(s.startProcess(kept, never))],
    ['attach', (s) => drain(s.attachProcess({ tag: 't' }, never))],
    ['processes', (s) => s.listProcesses(never)],
    ['input', (s) => s.writeProcess({ pid: 4 }, Buffer.from('x'), { close: false }, never)],
    ['signal', (s) => s.signalProcess({ pid: 4 }, 9, never)],
    ['watch', (s) => drain(s.watchFiles('x', { recursive: true }, never))],
    ['fileStat', (s) => s.statFile('x', never, { follow: true })],
    ['fileList', (s) => s.listFiles({ path: 'x', limit: 3 }, never, { depth: 2 })],
  ];
  const allowed = ['answered', 'guest.protocol', 'guest.limit', 'guest.closed', 'guest.unsupported', 'exec.not_found', 'file.not_found', 'request.invalid'];

  it.each(asks)('%s: an answer or a Problem, whatever comes', async (service, ask) => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 6 }), async (steps) => {
        const staged = await stage({
          [service]: (stream) => {
            for (const one of steps) one(stream);
            stream.end();
          },
        });
        // What neither answers nor fails is a guest that says nothing more: it is over when the host closes.
        const outcome = ask(staged.session).then(() => 'answered', (error: unknown) => (isProblem(error) ? error.code : `threw ${String(error)}`));
        for (let i = 0; i < 4; i++) await settle();
        staged.session.close();
        expect(allowed).toContain(await outcome);
        expect(['guest.protocol', 'guest.limit', 'guest.closed']).toContain((await staged.session.closed as { code?: string }).code);
      }),
      { seed: 20261125, numRuns: 150 },
    );
  });
});
