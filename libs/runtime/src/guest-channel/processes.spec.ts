import { duplexPair, Readable } from 'node:stream';
import { limits, silentLog } from '@alcove/base';
import { type ExecEvent, ProcessStart } from '@alcove/contracts';
import { GuestPeer, ManualClock, type PeerFields, peerFrame, type PeerService, type PeerStream } from '@alcove/testing';
import type { GuestSession } from '../guest-session';
import { openGuestSession } from './session';

const never = new AbortController().signal;
const settle = () => new Promise((resolve) => setImmediate(resolve));

interface Asked {
  session: GuestSession;
  peer: GuestPeer;
  clock: ManualClock;
  /** The fields of every OPEN, in order. */
  asked: Record<string, string[]>[];
}
async function withPeer(services: Record<string, PeerService>): Promise<Asked> {
  const [host, guest] = duplexPair();
  const asked: Record<string, string[]>[] = [];
  const noting = Object.entries(services).map(([name, service]): [string, PeerService] => [
    name,
    (stream, fields) => {
      asked.push(Object.fromEntries(fields));
      service(stream, fields);
    },
  ]);
  const peer = new GuestPeer(guest, Object.fromEntries(noting));
  const clock = new ManualClock();
  return { session: await openGuestSession(host, { clock, log: silentLog }), peer, clock, asked };
}
async function collect(events: AsyncIterable<ExecEvent>): Promise<string[]> {
  const seen: string[] = [];
  for await (const event of events) seen.push('data' in event ? `${event.event} ${Buffer.from(event.data, 'base64').toString()}` : JSON.stringify(event));
  return seen;
}
const script = (...steps: ((stream: PeerStream) => unknown)[]): PeerService => (stream) => steps.forEach((step) => step(stream));
const done = script((stream) => stream.end());
const start = (more: Partial<ProcessStart> = {}) => ProcessStart.parse({ command: ['bash', '-c', 'x'], ...more });
const ends = (peer: GuestPeer) => peer.frames.filter((frame) => frame.type === peerFrame.end).map((frame) => frame.stream);

describe('startProcess', () => {
  const lives = script((s) => s.message({ pid: 7 }), (s) => s.bytes(Buffer.from('out')), (s) => s.bytes(Buffer.from('err'), 1), (s) => s.message({ signal: 15, timedOut: 1 }).end());

  it('asks for a kept process, ends the host’s side at once, and gives its events', async () => {
    const { session, peer, asked, clock } = await withPeer({ exec: lives });
    const order = start({ env: { A: '1', B: '2=3' }, cwd: '/tmp', user: 'root', timeoutMs: 5000, tag: 'täg', stdin: true, pty: { cols: 80, rows: 24 } });
    expect(await collect(session.startProcess(order, never))).toEqual(['{"event":"start","pid":7}', 'stdout out', 'stderr err', '{"event":"exit","exitCode":null,"signal":"SIGTERM","timedOut":true,"truncated":false}']);
    expect(asked).toEqual([{ svc: ['exec'], arg: ['bash', '-c', 'x'], env: ['A=1', 'B=2=3'], cwd: ['/tmp'], user: ['root'], timeoutMs: ['5000'], stdin: ['1'], keep: ['1'], tag: ['täg'], pty: ['80x24'] }]);
    expect(ends(peer)).toEqual([1]);
    expect(clock.sleepers).toBe(0);
  });

  it('says nothing of what was not asked for: a timeout of 0 is none', async () => {
    const { session, asked } = await withPeer({ exec: lives });
    await collect(session.startProcess(start({ timeoutMs: 0 }), never));
    expect(asked).toEqual([{ svc: ['exec'], arg: ['bash', '-c', 'x'], keep: ['1'] }]);
  });

  it('waits for as long as the process likes, and is left by a RESET only', async () => {
    const resets: string[] = [];
    const quiet: PeerService = (stream) => {
      stream.onReset = (code) => resets.push(code);
      stream.message({ pid: 7 });
    };
    const { session, clock } = await withPeer({ exec: quiet, attach: quiet });
    const gone = new AbortController();
    const first = expect(collect(session.startProcess(start({ timeoutMs: 1000 }), gone.signal))).rejects.toThrow('gone');
    const second = expect(collect(session.attachProcess({ pid: 7 }, gone.signal))).rejects.toThrow('gone');
    for await (const event of session.attachProcess({ tag: 'x' }, never)) if (event.event === 'start') break;
    clock.advance(24 * 3600_000);
    await settle();
    expect(resets).toEqual(['cancelled']);
    gone.abort(new Error('gone'));
    await first;
    await second;
    await session.ping(1000);
    expect(resets).toEqual(['cancelled', 'cancelled', 'cancelled']);
  });

  it('takes any amount of output, as fast as it is read', async () => {
    const bytes = 3 << 20;
    let sent = 0;
    const { session } = await withPeer({
      exec: (stream) => {
        stream.message({ pid: 7 }).bytes(Buffer.alloc(bytes, 1));
        sent = limits.channel.windowBytes - stream.credit;
        stream.onBytes = () => undefined;
      },
    });
    let seen = 0;
    for await (const event of session.startProcess(start(), never)) {
      if (seen === 0) expect(sent).toBe(limits.channel.windowBytes);
      if (event.event === 'stdout') seen += Buffer.from(event.data, 'base64').length;
      if (seen === bytes) break;
    }
  });

  it('says of a guest that is too old that it is, and of a wrong request that it is wrong', async () => {
    const refuses = script((s) => s.reset('invalid', 'there is no keep'));
    const old = await withPeer({ exec: refuses, fileStat: refuses });
    await expect(collect(old.session.startProcess(start(), never))).rejects.toMatchObject({ code: 'guest.unsupported', detail: expect.stringContaining('make a new one') as string });
    await expect(old.session.statFile('x', never, { follow: true })).rejects.toMatchObject({ code: 'guest.unsupported' });
    await expect(old.session.statFile('x', never)).rejects.toMatchObject({ code: 'request.invalid' });
    await expect(collect(old.session.attachProcess({ pid: 1 }, never))).rejects.toMatchObject({ code: 'guest.unsupported' });
    await expect(old.session.listProcesses(never)).rejects.toMatchObject({ code: 'guest.unsupported', detail: expect.stringContaining('make a new one') as string });
    await expect(old.session.watchFiles('x', { recursive: false }, never)[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'guest.unsupported' });
    const young = await withPeer({ exec: refuses, fileStat: refuses, processes: done });
    await expect(collect(young.session.startProcess(start(), never))).rejects.toMatchObject({ code: 'request.invalid', detail: 'there is no keep' });
    await expect(young.session.statFile('x', never, { follow: true })).rejects.toMatchObject({ code: 'request.invalid' });
    expect(old.clock.sleepers + young.clock.sleepers).toBe(0);
  });
});

describe('attachProcess', () => {
  it('tells a late listener the end only', async () => {
    const { session, asked } = await withPeer({ attach: script((s) => s.message({ pid: 7 }).message({ exit: 3 }).end()) });
    expect(await collect(session.attachProcess({ tag: 't' }, never))).toEqual(['{"event":"start","pid":7}', '{"event":"exit","exitCode":3,"signal":null,"timedOut":false,"truncated":false}']);
    expect(asked).toEqual([{ svc: ['attach'], tag: ['t'] }]);
  });
  it('rejects when there is no such process', async () => {
    const { session } = await withPeer({ attach: script((s) => s.reset('not_found', 'no such process')) });
    await expect(collect(session.attachProcess({ pid: 7 }, never))).rejects.toMatchObject({ code: 'exec.not_found' });
  });
});

describe('listProcesses', () => {
  const one: PeerFields = { pid: 7, user: 'user', cwd: '/home/user' };
  it('gives what the guest says', async () => {
    const { session } = await withPeer({
      processes: script((s) => s.message({ ...one, tag: 't', pty: 1, arg: ['bash', '-c', 'a b'], env: ['A=1', 'B=', '__proto__=x'] }).message({ pid: 8, user: 'root' }).end()),
    });
    const listed = await session.listProcesses(never);
    expect(listed).toMatchObject([
      { pid: 7, tag: 't', command: ['bash', '-c', 'a b'], cwd: '/home/user', user: 'user', pty: true },
      { pid: 8, tag: null, command: [], env: {}, cwd: null, user: 'root', pty: false },
    ]);
    expect(Object.entries(listed[0]?.env ?? {})).toEqual([['A', '1'], ['B', ''], ['__proto__', 'x']]);
  });
  it('is bounded, in number and in bytes', async () => {
    const many = await withPeer({ processes: (stream) => Array.from({ length: limits.guest.processes + 1 }, () => stream.message(one)) });
    await expect(many.session.listProcesses(never)).rejects.toMatchObject({ code: 'guest.limit' });
    expect(await many.session.closed).toMatchObject({ code: 'guest.limit' });
    let over = false;
    const large = await withPeer({
      processes: (stream) => {
        const more = () => {
          if (over) return;
          stream.message({ ...one, arg: ['x'.repeat(60_000)] });
          setImmediate(more);
        };
        more();
      },
    });
    await expect(large.session.listProcesses(never)).rejects.toMatchObject({ code: 'guest.limit' });
    over = true;
  });
});

describe('writeProcess', () => {
  it('sends the bytes and END, and resolves with the guest’s END', async () => {
    const got: Buffer[] = [];
    let finish = () => {};
    const { session, asked } = await withPeer({
      input: (stream) => {
        stream.onBytes = (bytes) => got.push(Buffer.from(bytes));
        stream.onEnd = () => (finish = () => void stream.end());
      },
    });
    let resolved = false;
    const written = session.writeProcess({ pid: 7 }, Buffer.alloc(500_000, 5), { close: true }, never).then(() => (resolved = true));
    while (Buffer.concat(got).length < 500_000) await settle();
    await session.ping(1000);
    expect(resolved).toBe(false);
    finish();
    await written;
    expect(Buffer.concat(got).equals(Buffer.alloc(500_000, 5))).toBe(true);
    expect(asked).toEqual([{ svc: ['input'], pid: ['7'], close: ['1'] }]);
  });
  it('rejects when the process has no input, is gone, or the caller is', async () => {
    const resets: string[] = [];
    const codes = ['invalid', 'not_found'];
    const { session } = await withPeer({
      input: (stream) => {
        stream.onReset = (code) => resets.push(code);
        const code = codes.shift();
        if (code) stream.reset(code);
      },
    });
    const write = (signal: AbortSignal) => session.writeProcess({ tag: 't' }, Buffer.from('x'), { close: false }, signal);
    await expect(write(never)).rejects.toMatchObject({ code: 'request.invalid' });
    await expect(write(never)).rejects.toMatchObject({ code: 'exec.not_found' });
    const gone = new AbortController();
    const third = expect(write(gone.signal)).rejects.toThrow('gone');
    await settle();
    gone.abort(new Error('gone'));
    await third;
    await expect(write(gone.signal)).rejects.toThrow('gone');
    await session.ping(1000);
    expect(resets).toEqual(['cancelled']);
  });
});

it('signals and resizes', async () => {
  const { session, asked } = await withPeer({ signal: done, resize: done });
  await session.signalProcess({ pid: 7 }, 9, never);
  await session.resizeProcess({ tag: 't' }, { cols: 100, rows: 30 }, never);
  expect(asked).toEqual([{ svc: ['signal'], pid: ['7'], signal: ['9'] }, { svc: ['resize'], tag: ['t'], pty: ['100x30'] }]);
});

describe('watchFiles', () => {
  it('says first that it stands, then what changes, until it is left', async () => {
    const resets: string[] = [];
    const { session, asked } = await withPeer({
      watch: (stream) => {
        stream.onReset = (code) => resets.push(code);
        stream.message({}).message({ name: 'a', change: 'create' }).message({ name: 'd/b', change: 'chmod' });
      },
    });
    const seen: unknown[] = [];
    for await (const change of session.watchFiles('w', { recursive: true, user: 'root', owner: 'user' }, never)) {
      seen.push(change);
      if (seen.length === 3) break;
    }
    expect(seen).toEqual([null, { name: 'a', change: 'create' }, { name: 'd/b', change: 'chmod' }]);
    expect(asked).toEqual([{ svc: ['watch'], path: ['w'], recursive: ['1'], user: ['root'], owner: ['user'] }]);
    await session.ping(1000);
    expect(resets).toEqual(['cancelled']);
  });
  it('rejects as files do, and with the signal’s reason', async () => {
    const codes = ['not_found', 'not_a_directory', 'limit'];
    const { session } = await withPeer({
      watch: (stream) => {
        const code = codes.shift();
        if (code) stream.reset(code);
      },
    });
    const next = (signal: AbortSignal) => session.watchFiles('w', { recursive: false }, signal)[Symbol.asyncIterator]().next();
    await expect(next(never)).rejects.toMatchObject({ code: 'file.not_found' });
    await expect(next(never)).rejects.toMatchObject({ code: 'file.kind' });
    await expect(next(never)).rejects.toMatchObject({ code: 'guest.limit' });
    const gone = new AbortController();
    const waiting = expect(next(gone.signal)).rejects.toThrow('gone');
    await settle();
    gone.abort(new Error('gone'));
    await waiting;
  });
  it.each([
    ['many changes', limits.files.watchQueue + 1, 'x'],
    ['long names', 3000, 'x'.repeat(4000)],
  ])('ends with guest.limit when nobody takes %s, and the session goes on', async (_what, count, name) => {
    const { session } = await withPeer({
      watch: (stream) => {
        stream.message({});
        let left = count;
        const more = () => {
          for (let i = 0; i < 50 && left > 0; i++, left--) stream.message({ name, change: 'write' });
          if (left > 0) setImmediate(more);
        };
        more();
      },
    });
    const changes = session.watchFiles('w', { recursive: false }, never)[Symbol.asyncIterator]();
    expect(await changes.next()).toEqual({ value: null, done: false });
    for (let i = 0; i < 2 * (count / 50) + 10; i++) await settle();
    await expect(changes.next()).rejects.toMatchObject({ code: 'guest.limit' });
    await session.ping(1000);
  });
});

describe('the options of files', () => {
  const entry: PeerFields = { name: 'a', kind: 'file', size: 5, mode: '644', mtimeMs: 0, uid: 1000, gid: 1000 };
  it('are asked for, and the answers have more to say', async () => {
    const { session, asked } = await withPeer({
      fileStat: script((s) => s.message({ ...entry, owner: 'user', group: 'users', meta: ['k=v', 'empty=', 'x=a=b'] }).end()),
      fileList: script((s) => s.message({ ...entry, name: 'd/a', owner: 'user', group: 'users' }).end()),
      fileMove: done, fileRemove: done, fileMakeDir: done,
      fileRead: script((s) => s.message({ size: 0, mode: '600', mtimeMs: 0 }).end()),
      stats: script((s) => s.message({ memTotal: 1, memAvailable: 2, memCached: 3, processes: 4, load1: 0, diskTotal: 5, diskFree: 6, uptimeMs: 7, cpuBusyMs: 8, cpuTotalMs: 9 }).end()),
    });
    const both = { user: 'root', owner: 'user' };
    const rights = { user: ['root'], owner: ['user'] };
    expect(await session.statFile('a', never, { ...both, follow: true })).toMatchObject({ owner: 'user', group: 'users', metadata: { k: 'v', empty: '', x: 'a=b' } });
    expect((await session.listFiles({ path: 'p', limit: 9 }, never, { ...both, depth: 3, follow: true })).entries).toEqual([expect.objectContaining({ name: 'd/a', metadata: undefined })]);
    await session.moveFile('a', 'b', never, { ...both, makeParents: true });
    await session.removeFile('a', true, never, both);
    await session.makeFolder('a', { ...both, mode: '0700' }, never);
    (await session.readFile({ path: 'a' }, never, both)).body.resume();
    expect(await session.stats()).toMatchObject({ memCached: 3, cpuBusyMs: 8, cpuTotalMs: 9 });
    expect(asked.slice(0, 6)).toEqual([
      { svc: ['fileStat'], path: ['a'], follow: ['1'], ...rights },
      { svc: ['fileList'], path: ['p'], limit: ['10'], depth: ['3'], follow: ['1'], ...rights },
      { svc: ['fileMove'], from: ['a'], to: ['b'], makeParents: ['1'], ...rights },
      { svc: ['fileRemove'], path: ['a'], recursive: ['1'], ...rights },
      { svc: ['fileMakeDir'], path: ['a'], mode: ['0700'], ...rights },
      { svc: ['fileRead'], path: ['a'], ...rights },
    ]);
  });
  it('write: what is kept beside the file', async () => {
    const { session, asked } = await withPeer({ fileWrite: (stream) => (stream.onEnd = () => stream.message({ size: 1 }).end()) });
    await session.writeFile({ path: 'a', makeParents: true, user: 'one' }, Readable.from([Buffer.from('x')]), never, { owner: 'user', metadata: { k: 'v', l: '' } });
    await session.writeFile({ path: 'a', makeParents: false, user: 'one' }, Readable.from([Buffer.from('x')]), never, { user: 'two' });
    expect(asked).toEqual([
      { svc: ['fileWrite'], path: ['a'], user: ['one'], owner: ['user'], makeParents: ['1'], meta: ['k=v', 'l='] },
      { svc: ['fileWrite'], path: ['a'], user: ['two'] },
    ]);
  });
});
