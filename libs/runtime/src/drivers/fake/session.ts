import { type Duplex, duplexPair, Readable } from 'node:stream';
import { type Server } from 'node:http';
import { limits } from '@alcove/base';
import { type ExecEvent, type ExecRequest, type FileChange, type FileEntry, type FileListQuery, type FileReadQuery, type FileWriteQuery, Problem, type ProcessInfo, type ProcessStart, type TerminalSize } from '@alcove/contracts';
import type { RoomKey } from '../../driver';
import type { FileLook, FileRights, GuestClaim, GuestSession, GuestStats, ProcessName } from '../../guest-session';
import { onAbort } from '../../guest-channel/on-abort';
import { createFakeAgent } from './agent';
import { fakeDiskBytes } from './files';
import { type FakeGuest, guestOf } from './guest';
import type { Listener } from './listener';
import { runExec } from './shell';
import { type FakeUser, userNamed } from './users';
import { watchFolder } from './watch';
import type { FakeVm, FakeWorld } from './world';

const agentPort = 8080;

/** The channel to one fake guest: nothing crosses a wire, but every call obeys the GuestSession's contract, closing and aborting included. */
export class FakeSession implements GuestSession {
  readonly closed: Promise<Error>;
  readonly #over = new AbortController();
  readonly #guest: FakeGuest;
  readonly #agent: Server;
  #quiet = false;
  /** Set by a test to make the guest deaf: pings stay unanswered. */
  unresponsive = false;
  /** Set by a test: the host's disk is full and the guest is held still. Pings stay unanswered, and the driver says why. */
  stalled = false;

  constructor(
    private readonly world: FakeWorld,
    private readonly vm: FakeVm,
  ) {
    this.closed = new Promise((resolve) => {
      this.#over.signal.addEventListener('abort', () => resolve(this.#over.signal.reason as Error), { once: true });
    });
    this.#guest = guestOf(world, vm);
    this.#agent = createFakeAgent({ clock: world.clock, ram: vm.ram, files: this.#guest.files, env: vm.env, door: this.#guest.door, changed: () => this.#guest.saveRam() });
  }
  key(): RoomKey {
    return { roomId: this.vm.roomId, incarnation: this.vm.incarnation };
  }

  async claim(claim: GuestClaim): Promise<{ bootNonce: string; bootId: string }> {
    this.vm.mode = claim.mode;
    this.vm.env = { ...claim.env };
    if (claim.mode !== 'resumed') this.vm.ram.bootNonce = claim.entropy.subarray(0, 16).toString('hex');
    this.#guest.processes.thaw();
    this.#guest.saveRam();
    return { bootNonce: this.vm.ram.bootNonce, bootId: this.vm.ram.bootId };
  }
  async ready(): Promise<{ agentRunning: boolean; cloneSafe: boolean; version: string }> {
    this.#open();
    return { agentRunning: true, cloneSafe: true, version: 'fake' };
  }
  async *exec(request: ExecRequest, signal: AbortSignal): AsyncGenerator<ExecEvent> {
    this.#open(signal);
    const ends = AbortSignal.any([signal, this.#over.signal]);
    for await (const event of runExec(request, this.#guest.room(), ends)) {
      if (ends.aborted) throw ends.reason;
      yield event;
    }
    if (ends.aborted) throw ends.reason;
  }
  async connect(port: number, _waitMs: number, signal: AbortSignal): Promise<Duplex> {
    this.#open(signal);
    if (port !== agentPort) throw new Problem('agent.unreachable', { detail: `nothing listens on port ${port}` });
    const [mine, theirs] = duplexPair();
    this.#agent.emit('connection', theirs);
    const end = () => {
      mine.destroy();
      theirs.destroy();
    };
    AbortSignal.any([signal, this.#over.signal]).addEventListener('abort', end, { once: true });
    // duplexPair does not carry a destroy across: a connection that is cut here must be seen as cut there.
    mine.once('close', end);
    theirs.once('close', end);
    theirs.on('error', end);
    return mine;
  }
  async openDoor(names: readonly string[], signal: AbortSignal): Promise<Duplex> {
    this.#open(signal);
    return this.#guest.door.open(names, AbortSignal.any([signal, this.#over.signal]));
  }
  async *startProcess(order: ProcessStart, signal: AbortSignal): AsyncGenerator<ExecEvent, void, void> {
    this.#open(signal);
    yield* this.#hear(this.#guest.processes.start(order), signal);
  }
  async *attachProcess(which: ProcessName, signal: AbortSignal): AsyncGenerator<ExecEvent, void, void> {
    this.#open(signal);
    yield* this.#hear(this.#guest.processes.attach(which), signal);
  }
  async listProcesses(signal: AbortSignal): Promise<ProcessInfo[]> {
    this.#open(signal);
    return this.#guest.processes.list();
  }
  async writeProcess(which: ProcessName, data: Buffer, options: { close: boolean }, signal: AbortSignal): Promise<void> {
    this.#open(signal);
    await this.#unlessAborted(this.#guest.processes.write(which, data, options.close), signal);
  }
  async signalProcess(which: ProcessName, number: number, signal: AbortSignal): Promise<void> {
    this.#open(signal);
    this.#guest.processes.signal(which, number);
  }
  async resizeProcess(which: ProcessName, size: TerminalSize, signal: AbortSignal): Promise<void> {
    this.#open(signal);
    this.#guest.processes.resize(which, size);
  }
  async readFile(query: FileReadQuery, signal: AbortSignal, rights: FileRights = {}): Promise<{ size: number; mode: string; modifiedAt: string; body: Readable }> {
    this.#open(signal);
    const { path } = this.#place(query.path, rights);
    const { node, data } = this.#guest.files.read(path);
    const offset = query.offset ?? 0;
    // Without a length it goes on to the end, wherever that is by then.
    const end = query.length === undefined ? Infinity : offset + query.length;
    return { size: data.length, mode: node.mode, modifiedAt: new Date(node.modifiedMs).toISOString(), body: Readable.from(this.#guest.files.slices(path, offset, end), { signal, objectMode: false }) };
  }
  async writeFile(query: FileWriteQuery, body: Readable, signal: AbortSignal, rights: FileRights & { metadata?: Readonly<Record<string, string>> } = {}): Promise<{ size: number }> {
    this.#open(signal);
    const { path, user } = this.#place(query.path, { user: query.user, ...rights });
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      signal.throwIfAborted();
      this.#open();
      bytes += chunk.length;
      if (bytes > fakeDiskBytes) throw new Problem('file.no_space');
      chunks.push(chunk);
    }
    this.#guest.files.write(path, Buffer.concat(chunks), { ...query, user, metadata: rights.metadata });
    return { size: bytes };
  }
  async listFiles(query: FileListQuery, signal: AbortSignal, look: FileLook & { depth?: number } = {}): Promise<{ entries: FileEntry[]; truncated: boolean }> {
    this.#open(signal);
    return this.#guest.files.list(this.#place(query.path, look).path, Math.min(query.limit, limits.files.listEntries), look);
  }
  async statFile(path: string, signal: AbortSignal, look: FileLook = {}): Promise<FileEntry> {
    this.#open(signal);
    return this.#guest.files.stat(this.#place(path, look).path, look.follow);
  }
  async moveFile(from: string, to: string, signal: AbortSignal, rights: FileRights & { makeParents?: boolean } = {}): Promise<void> {
    this.#open(signal);
    const { user } = this.#place(from, rights);
    this.#guest.files.move(this.#place(from, rights).path, this.#place(to, rights).path, { user, makeParents: rights.makeParents });
  }
  async removeFile(path: string, recursive: boolean, signal: AbortSignal, rights: FileRights = {}): Promise<void> {
    this.#open(signal);
    this.#guest.files.remove(this.#place(path, rights).path, recursive);
  }
  async makeFolder(path: string, options: FileRights & { mode?: string }, signal: AbortSignal): Promise<void> {
    this.#open(signal);
    const { path: full, user } = this.#place(path, options);
    this.#guest.files.makeFolder(full, { mode: options.mode, user });
  }
  async *watchFiles(path: string, options: FileRights & { recursive: boolean }, signal: AbortSignal): AsyncGenerator<FileChange | null, void, void> {
    this.#open(signal);
    yield* watchFolder(this.#guest.files, this.#place(path, options).path, options.recursive, AbortSignal.any([signal, this.#over.signal]));
  }
  /** The log so far; following stays open until it is aborted, and says what comes later only when asked again. */
  async logs(options: { follow: boolean; tailBytes: number }, signal: AbortSignal): Promise<Readable> {
    this.#open(signal);
    const all = Buffer.from(this.vm.ram.log);
    const tail = all.subarray(Math.max(0, all.length - options.tailBytes));
    if (!options.follow) return Readable.from(slices(tail), { objectMode: false });
    const stream = new Readable({ read: () => undefined });
    if (tail.length > 0) stream.push(tail);
    const end = () => stream.destroy();
    AbortSignal.any([signal, this.#over.signal]).addEventListener('abort', end, { once: true });
    return stream;
  }
  async stats(): Promise<GuestStats> {
    this.#open();
    return { memTotal: 512 << 20, memAvailable: 400 << 20, processes: 3, load1: 0, diskTotal: fakeDiskBytes, diskFree: fakeDiskBytes, uptimeMs: this.world.clock.monotonic() };
  }
  async quiesce(): Promise<void> {
    this.#open();
    this.#quiet = true;
    this.#guest.processes.freeze();
  }
  async resynchronise(): Promise<void> {
    if (this.#over.signal.aborted) throw this.#over.signal.reason;
    this.#quiet = false;
    this.#guest.processes.thaw();
  }
  async ping(timeoutMs: number): Promise<void> {
    this.#open();
    if (!this.unresponsive && !this.stalled) return;
    await this.world.clock.sleep(timeoutMs, this.#over.signal);
    throw new Problem('guest.closed', { detail: 'no answer to a ping' });
  }
  close(): void {
    this.end(new Problem('guest.closed', { detail: 'closed by the host' }));
  }
  /** Ends every stream with this problem, as the loss of the channel does. */
  end(problem: Problem): void {
    if (!this.#over.signal.aborted) this.#over.abort(problem);
  }

  #open(signal?: AbortSignal): void {
    signal?.throwIfAborted();
    if (this.#over.signal.aborted) throw this.#over.signal.reason;
    if (this.#quiet) throw new Problem('guest.closed', { detail: 'the guest is quiescing' });
  }
  /** The path that is meant, and whose it will be what is made there. */
  #place(path: string, { user, owner }: FileRights): { path: string; user: FakeUser } {
    const acting = userNamed(user ?? 'user');
    const owning = owner === undefined ? acting : userNamed(owner);
    return { path: this.#guest.files.resolve(path, owning), user: owning };
  }
  #hear(listener: Listener, signal: AbortSignal): AsyncGenerator<ExecEvent, void, void> {
    return listener.events(AbortSignal.any([signal, this.#over.signal]));
  }
  async #unlessAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
    const ends = AbortSignal.any([signal, this.#over.signal]);
    let unlisten = () => {};
    const aborted = new Promise<never>((_resolve, reject) => (unlisten = onAbort(ends, reject)));
    try {
      await Promise.race([work, aborted]);
    } finally {
      unlisten();
    }
  }
}

function* slices(data: Buffer): Generator<Buffer> {
  for (let at = 0; at < data.length; at += limits.channel.frameBytes) yield data.subarray(at, at + limits.channel.frameBytes);
}
