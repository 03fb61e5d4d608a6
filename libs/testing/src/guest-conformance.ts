import { text } from 'node:stream/consumers';
import { Readable } from 'node:stream';
import { type FileChange, ProcessStart } from '@alcove/contracts';
import type { GuestSession } from '@alcove/runtime';
import { Heard } from './heard';
import { codeOf } from './in-guest';

/** Runs one step of a driver's story on the guest that the story is at. */
export type GuestStep = (title: string, work: (guest: GuestSession) => Promise<void>) => void;

const never = new AbortController().signal;
const script = (words: string, more: Partial<ProcessStart> = {}) => ProcessStart.parse({ command: ['/bin/bash', '-c', words], ...more });
const begin = (guest: GuestSession, order: ProcessStart) => new Heard((signal) => guest.startProcess(order, signal)).started();
const attach = (guest: GuestSession, which: { pid: number } | { tag: string }) => new Heard((signal) => guest.attachProcess(which, signal)).started();
const tell = (guest: GuestSession, pid: number, words: string, close = false) => guest.writeProcess({ pid }, Buffer.from(words), { close }, never);
/** A pid that no process has: greater than the kernel gives. */
const nobody = { pid: 2 ** 31 - 1 };

/** What a guest promises about processes that outlive who started them. */
export function describeProcesses(step: GuestStep): void {
  step('keeps a process when its listener goes, and tells all listeners the same', async (guest) => {
    const first = await begin(guest, ProcessStart.parse({ command: ['cat'], stdin: true, tag: 'kept' }));
    const second = await attach(guest, { pid: first.pid });
    await tell(guest, first.pid, 'one\n');
    await Promise.all([first, second].map((heard) => heard.until(() => heard.stdout === 'one\n')));
    await first.leave();
    expect(await guest.listProcesses(never)).toMatchObject([{ pid: first.pid, tag: 'kept', command: ['cat'], user: 'user', pty: false }]);
    const third = await attach(guest, { tag: 'kept' });
    expect(third.pid).toBe(first.pid);
    await tell(guest, first.pid, 'two\n', true);
    expect(await Promise.all([second.ended(), third.ended()])).toMatchObject([{ exitCode: 0 }, { exitCode: 0 }]);
    expect([second.stdout, third.stdout]).toEqual(['one\ntwo\n', 'two\n']);
    expect(await guest.listProcesses(never)).toEqual([]);
    const late = await attach(guest, { tag: 'kept' });
    expect([late.pid, await late.ended(), late.stdout]).toEqual([first.pid, expect.objectContaining({ exitCode: 0, signal: null }), '']);
    expect(await codeOf(tell(guest, first.pid, 'three\n'))).toBe('exec.not_found');
  });
  step('starts a kept process as asked: folder, variables, user, output, code', async (guest) => {
    const heard = await begin(guest, script('pwd; echo "$CONFORMANCE $MORE"; whoami; echo oops >&2; exit 7', { cwd: '/tmp', env: { MORE: 'too' }, user: 'root' }));
    expect(await heard.ended()).toEqual({ event: 'exit', exitCode: 7, signal: null, timedOut: false, truncated: false });
    expect(heard).toMatchObject({ stdout: '/tmp\nyes too\nroot\n', stderr: 'oops\n' });
    expect(await codeOf(begin(guest, ProcessStart.parse({ command: ['no-such-program'] })))).toBe('exec.not_found');
    expect(await codeOf(begin(guest, script('true', { user: 'nobody-here' })))).toBe('request.invalid');
  });
  step('ends a kept process by a signal, or when its time is up', async (guest) => {
    const signalled = await begin(guest, ProcessStart.parse({ command: ['sleep', '1000'], tag: 'to end' }));
    await guest.signalProcess({ tag: 'to end' }, 9, never);
    expect(await signalled.ended()).toMatchObject({ exitCode: null, signal: 'SIGKILL', timedOut: false });
    const slow = await begin(guest, ProcessStart.parse({ command: ['sleep', '1000'], timeoutMs: 50 }));
    expect(await slow.ended()).toMatchObject({ exitCode: null, timedOut: true });
  });
  step('gives input only to what takes it', async (guest) => {
    const deaf = await begin(guest, ProcessStart.parse({ command: ['sleep', '1000'] }));
    expect(await codeOf(tell(guest, deaf.pid, 'x'))).toBe('request.invalid');
    expect(await codeOf(guest.resizeProcess({ pid: deaf.pid }, { cols: 1, rows: 1 }, never))).toBe('request.invalid');
    await guest.signalProcess({ pid: deaf.pid }, 15, never);
    expect(await deaf.ended()).toMatchObject({ signal: 'SIGTERM' });
    const heard = await begin(guest, ProcessStart.parse({ command: ['cat'], stdin: true }));
    const large = 'alcove '.repeat(150_000);
    await tell(guest, heard.pid, large, true);
    await heard.ended();
    expect(heard.stdout === large).toBe(true);
    for (const which of [nobody, { tag: 'nobody' }]) {
      expect(await codeOf(attach(guest, which))).toBe('exec.not_found');
      expect(await codeOf(guest.writeProcess(which, Buffer.from('x'), { close: false }, never))).toBe('exec.not_found');
      expect(await codeOf(guest.signalProcess(which, 9, never))).toBe('exec.not_found');
      expect(await codeOf(guest.resizeProcess(which, { cols: 1, rows: 1 }, never))).toBe('exec.not_found');
    }
  });
  step('lets a process write what nobody hears', async (guest) => {
    const heard = await begin(guest, ProcessStart.parse({ command: ['cat'], stdin: true, tag: 'unheard' }));
    await heard.leave();
    await tell(guest, heard.pid, 'x'.repeat(1 << 20), true);
    const late = await new Heard((signal) => guest.attachProcess({ tag: 'unheard' }, signal)).started();
    expect(await late.ended()).toMatchObject({ exitCode: 0 });
  });
}

export function describeTerminals(step: GuestStep): void {
  step('gives a process a terminal: its size, its echo, its end of input', async (guest) => {
    const sized = await begin(guest, script('tty; stty size; read line; stty size', { pty: { cols: 80, rows: 24 } }));
    await sized.until(() => /^\/dev\/pts\/\d+\r\n24 80\r\n$/.test(sized.stdout));
    await guest.resizeProcess({ pid: sized.pid }, { cols: 132, rows: 43 }, never);
    expect(await guest.listProcesses(never)).toMatchObject([{ pid: sized.pid, pty: true }]);
    expect(await codeOf(tell(guest, sized.pid, '', true))).toBe('request.invalid');
    await tell(guest, sized.pid, '\n');
    expect(await sized.ended()).toMatchObject({ exitCode: 0 });
    expect(sized.stdout).toMatch(/43 132\r\n$/);
    const echoes = await begin(guest, ProcessStart.parse({ command: ['cat'], pty: { cols: 80, rows: 24 } }));
    await tell(guest, echoes.pid, 'hello\n');
    await echoes.until(() => echoes.stdout === 'hello\r\nhello\r\n');
    await tell(guest, echoes.pid, '\x04');
    expect(await echoes.ended()).toMatchObject({ exitCode: 0 });
    expect(echoes.stderr).toBe('');
  });
  step('interrupts what runs in a terminal', async (guest) => {
    const heard = await begin(guest, ProcessStart.parse({ command: ['sleep', '1000'], pty: { cols: 80, rows: 24 } }));
    await tell(guest, heard.pid, '\x03');
    expect(await heard.ended()).toMatchObject({ exitCode: null, signal: 'SIGINT' });
  });
}

/** Collects changes in the background. */
class Watching {
  readonly seen: string[] = [];
  readonly over: Promise<unknown>;
  readonly #stop = new AbortController();
  #wake = () => {};

  private constructor(changes: (signal: AbortSignal) => AsyncIterable<FileChange | null>) {
    this.over = this.#read(changes(this.#stop.signal)).catch((error: unknown) => error);
  }
  /** Resolves once the watch stands. */
  static async begin(guest: GuestSession, path: string, recursive: boolean): Promise<Watching> {
    const watching = new Watching((signal) => guest.watchFiles(path, { recursive }, signal));
    await watching.until('stands');
    return watching;
  }
  async until(what: string): Promise<void> {
    while (!this.seen.includes(what)) await new Promise<void>((resolve) => (this.#wake = resolve));
  }
  async stop(): Promise<unknown> {
    this.#stop.abort(new Error('seen enough'));
    return this.over;
  }
  async #read(changes: AsyncIterable<FileChange | null>): Promise<void> {
    for await (const change of changes) {
      this.seen.push(change === null ? 'stands' : `${change.change} ${change.name}`);
      this.#wake();
    }
  }
}

export function describeWatches(step: GuestStep): void {
  const write = (guest: GuestSession, path: string, words = 'x') => guest.writeFile({ path, makeParents: true }, Readable.from([Buffer.from(words)]), never);
  step('tells what happens in a folder', async (guest) => {
    await guest.makeFolder('watched/below', {}, never);
    const flat = await Watching.begin(guest, 'watched', false);
    await write(guest, 'watched/a');
    await flat.until('create a');
    await flat.until('write a');
    await write(guest, 'watched/below/unseen');
    await guest.moveFile('watched/a', 'watched/b', never);
    await flat.until('rename a');
    await flat.until('create b');
    await guest.removeFile('watched/b', false, never);
    await flat.until('remove b');
    expect(flat.seen.filter((change) => change.includes('unseen'))).toEqual([]);
    expect(await flat.stop()).toMatchObject({ message: 'seen enough' });
  });
  step('tells what happens below a folder, also in folders that are made later', async (guest) => {
    const deep = await Watching.begin(guest, 'watched', true);
    await guest.makeFolder('watched/new', {}, never);
    await deep.until('create new');
    await write(guest, 'watched/new/file');
    await deep.until('create new/file');
    await begin(guest, script('mkdir -p watched/x/y; echo hello > watched/x/y/z')).then((heard) => heard.ended());
    await deep.until('create x/y/z');
    await begin(guest, script('echo more >> watched/x/y/z; chmod 600 watched/x/y/z')).then((heard) => heard.ended());
    await deep.until('chmod x/y/z');
    await deep.until('write x/y/z');
    await guest.removeFile('watched/x', true, never);
    await deep.until('remove x/y/z');
    await deep.until('remove x');
    await deep.stop();
    await guest.removeFile('watched', true, never);
  });
  step('watches only folders that are there', async (guest) => {
    await write(guest, 'plain');
    expect(await codeOf(guest.watchFiles('nowhere', { recursive: false }, never)[Symbol.asyncIterator]().next())).toBe('file.not_found');
    expect(await codeOf(guest.watchFiles('plain', { recursive: false }, never)[Symbol.asyncIterator]().next())).toBe('file.kind');
    await guest.removeFile('plain', false, never);
  });
}

export function describeFileOptions(step: GuestStep): void {
  const asRoot = { user: 'root', owner: 'user' };
  step('acts as one user for another', async (guest) => {
    await guest.writeFile({ path: 'given/deep/file', makeParents: true }, Readable.from([Buffer.from('mine')]), never, asRoot);
    expect(await guest.statFile('/home/user/given/deep/file', never)).toMatchObject({ owner: 'user', group: 'user', uid: 1000, mode: '0644' });
    expect(await guest.statFile('given/deep', never, asRoot)).toMatchObject({ kind: 'directory', owner: 'user' });
    await guest.makeFolder('given/made', { ...asRoot, mode: '0750' }, never);
    expect(await guest.statFile('given/made', never)).toMatchObject({ owner: 'user', mode: '0750' });
    await guest.writeFile({ path: 'roots', makeParents: false, user: 'root' }, Readable.from([Buffer.from('roots')]), never);
    expect(await guest.statFile('/root/roots', never, { user: 'root' })).toMatchObject({ owner: 'root', group: 'root', uid: 0 });
    expect(await text((await guest.readFile({ path: 'roots' }, never, { user: 'root' })).body)).toBe('roots');
    await guest.moveFile('given/deep/file', 'given/far/away/file', never, { ...asRoot, makeParents: true });
    expect(await guest.statFile('given/far', never)).toMatchObject({ owner: 'user' });
    await guest.removeFile('roots', false, never, { user: 'root' });
    expect(await codeOf(guest.statFile('x', never, { user: 'nobody-here' }))).toBe('request.invalid');
  });
  step('lists several levels, each folder before what is in it', async (guest) => {
    const names = async (depth: number, limit = 100) => {
      const { entries, truncated } = await guest.listFiles({ path: 'given', limit }, never, { ...asRoot, depth });
      return [...entries.map(({ name }) => name), ...(truncated ? ['…'] : [])];
    };
    expect(await names(1)).toEqual(['deep', 'far', 'made']);
    expect(await names(2)).toEqual(['deep', 'far', 'far/away', 'made']);
    expect(await names(9)).toEqual(['deep', 'far', 'far/away', 'far/away/file', 'made']);
    expect(await names(9, 4)).toEqual(['deep', 'far', 'far/away', 'far/away/file', '…']);
  });
  step('says of a link what it is, or what it leads to', async (guest) => {
    await begin(guest, script('ln -s far/away/file given/link; ln -s nowhere given/broken')).then((heard) => heard.ended());
    expect(await guest.statFile('given/link', never)).toMatchObject({ kind: 'symlink', target: 'far/away/file' });
    expect(await guest.statFile('given/link', never, { follow: true })).toMatchObject({ name: 'link', kind: 'file', size: 4, mode: '0644', target: '/home/user/given/far/away/file' });
    expect(await guest.statFile('given/broken', never, { follow: true })).toMatchObject({ kind: 'symlink' });
    const { entries } = await guest.listFiles({ path: 'given', limit: 100 }, never, { follow: true });
    expect(entries.map(({ name, kind }) => `${name} ${kind}`)).toEqual(['broken symlink', 'deep directory', 'far directory', 'link file', 'made directory']);
  });
  step('keeps what is told about a file beside it', async (guest) => {
    const write = (metadata?: Record<string, string>) => guest.writeFile({ path: 'given/told', makeParents: false }, Readable.from([Buffer.from('x')]), never, { ...asRoot, metadata });
    await write({ colour: 'blue', note: 'a=b' });
    expect(await guest.statFile('given/told', never)).toMatchObject({ metadata: { colour: 'blue', note: 'a=b' } });
    await guest.moveFile('given/told', 'given/moved', never);
    expect((await guest.listFiles({ path: 'given', limit: 100 }, never)).entries.find(({ name }) => name === 'moved')).toMatchObject({ metadata: { colour: 'blue', note: 'a=b' } });
    await guest.moveFile('given/moved', 'given/told', never);
    await write({ colour: 'red' });
    expect((await guest.statFile('given/told', never)).metadata).toEqual({ colour: 'red' });
    await write();
    expect((await guest.statFile('given/told', never)).metadata ?? {}).toEqual({});
    await guest.removeFile('given', true, never);
  });
}

/** Processes that were begun before a sleep, and must be there after it. */
export interface Sleepers {
  counter: number;
  counted: number;
  reader: number;
  terminal: number;
}

/** Begins a counter, one that reads, and one with a terminal; nobody listens to them any more when this resolves. */
export async function beginSleepers(guest: GuestSession): Promise<Sleepers> {
  const counter = await begin(guest, script('i=0; while true; do i=$((i+1)); echo "n$i"; sleep 0.05; done', { tag: 'counter' }));
  const reader = await begin(guest, ProcessStart.parse({ command: ['cat'], stdin: true, tag: 'reader' }));
  const terminal = await begin(guest, ProcessStart.parse({ command: ['cat'], pty: { cols: 80, rows: 24 }, tag: 'terminal' }));
  await counter.until(() => counter.stdout.includes('n3\n'));
  const counted = lastOf(counter);
  await Promise.all([counter.leave(), reader.leave(), terminal.leave()]);
  return { counter: counter.pid, counted, reader: reader.pid, terminal: terminal.pid };
}

/** They go on: the same processes, where they were. Resolves with how far the counter has come. */
export async function expectSleepers(guest: GuestSession, sleepers: Sleepers): Promise<Sleepers> {
  const running = await guest.listProcesses(never);
  expect(running.map(({ pid, tag }) => [pid, tag])).toEqual([[sleepers.counter, 'counter'], [sleepers.reader, 'reader'], [sleepers.terminal, 'terminal']]);
  const counter = await attach(guest, { tag: 'counter' });
  await counter.until(() => /n\d+\nn\d+\n/.test(counter.stdout));
  const counted = lastOf(counter);
  expect(counted).toBeGreaterThan(sleepers.counted);
  // Not one that began anew: it would have had to count as far in no time.
  expect(Number(/n(\d+)\n/.exec(counter.stdout)?.[1])).toBeGreaterThan(sleepers.counted);
  const reader = await attach(guest, { pid: sleepers.reader });
  await tell(guest, sleepers.reader, 'awake\n');
  await reader.until(() => reader.stdout === 'awake\n');
  const terminal = await attach(guest, { pid: sleepers.terminal });
  await tell(guest, sleepers.terminal, 'too\n');
  await terminal.until(() => terminal.stdout === 'too\r\ntoo\r\n');
  await Promise.all([counter.leave(), reader.leave(), terminal.leave()]);
  return { ...sleepers, counted };
}

function lastOf(counter: Heard): number {
  return Math.max(...[...counter.stdout.matchAll(/n(\d+)\n/g)].map(([, number]) => Number(number)));
}
