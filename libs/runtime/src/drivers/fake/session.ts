import { type Duplex, duplexPair, Readable } from 'node:stream';
import { type Server } from 'node:http';
import { limits } from '@alcove/base';
import { type ExecEvent, type ExecRequest, type FileChange, type FileEntry, type FileListQuery, type FileReadQuery, type FileWriteQuery, Problem, type ProcessInfo } from '@alcove/contracts';
import type { RoomKey } from '../../driver';
import type { GuestClaim, GuestSession, GuestStats } from '../../guest-session';
import { createFakeAgent } from './agent';
import { FakeFiles, fakeDiskBytes } from './files';
import { runExec } from './shell';
import type { FakeVm, FakeWorld } from './world';

const agentPort = 8080;
const logBytesMax = 1 << 20;

/** The channel to one fake guest: nothing crosses a wire, but every call obeys the GuestSession's contract, closing and aborting included. */
export class FakeSession implements GuestSession {
  readonly closed: Promise<Error>;
  readonly #over = new AbortController();
  readonly #files: FakeFiles;
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
    const disk = world.disks.get(vm.roomId) ?? world.newDisk(vm.roomId, `start-${vm.incarnation}`);
    this.#files = new FakeFiles(disk.files, () => world.clock.now(), () => world.disks.set(vm.roomId, disk));
    this.#agent = createFakeAgent({ clock: world.clock, ram: vm.ram, files: this.#files, env: vm.env, changed: () => this.#saveRam() });
  }
  key(): RoomKey {
    return { roomId: this.vm.roomId, incarnation: this.vm.incarnation };
  }

  async claim(claim: GuestClaim): Promise<{ bootNonce: string; bootId: string }> {
    this.vm.mode = claim.mode;
    this.vm.env = { ...claim.env };
    if (claim.mode !== 'resumed') this.vm.ram.bootNonce = claim.entropy.subarray(0, 16).toString('hex');
    this.#saveRam();
    return { bootNonce: this.vm.ram.bootNonce, bootId: this.vm.ram.bootId };
  }
  async ready(): Promise<{ agentRunning: boolean; cloneSafe: boolean; version: string }> {
    this.#open();
    return { agentRunning: true, cloneSafe: true, version: 'fake' };
  }
  async *exec(request: ExecRequest, signal: AbortSignal): AsyncGenerator<ExecEvent> {
    this.#open(signal);
    const ends = AbortSignal.any([signal, this.#over.signal]);
    const room = { clock: this.world.clock, files: this.#files, env: this.vm.env, crash: () => void this.world.kill(this.key()) };
    for await (const event of runExec(request, room, ends)) {
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
  async readFile(query: FileReadQuery, signal: AbortSignal): Promise<{ size: number; mode: string; modifiedAt: string; body: Readable }> {
    this.#open(signal);
    const { node, data } = this.#files.read(query.path);
    const offset = query.offset ?? 0;
    // Without a length it goes on to the end, wherever that is by then.
    const end = query.length === undefined ? Infinity : offset + query.length;
    return { size: data.length, mode: node.mode, modifiedAt: new Date(node.modifiedMs).toISOString(), body: Readable.from(this.#files.slices(query.path, offset, end), { signal, objectMode: false }) };
  }
  async writeFile(query: FileWriteQuery, body: Readable, signal: AbortSignal): Promise<{ size: number }> {
    this.#open(signal);
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      signal.throwIfAborted();
      this.#open();
      bytes += chunk.length;
      if (bytes > fakeDiskBytes) throw new Problem('file.no_space');
      chunks.push(chunk);
    }
    this.#files.write(query.path, Buffer.concat(chunks), query);
    return { size: bytes };
  }
  async listFiles(query: FileListQuery, signal: AbortSignal): Promise<{ entries: FileEntry[]; truncated: boolean }> {
    this.#open(signal);
    return this.#files.list(query.path, Math.min(query.limit, limits.files.listEntries));
  }
  async statFile(path: string, signal: AbortSignal): Promise<FileEntry> {
    this.#open(signal);
    return this.#files.stat(path);
  }
  async moveFile(from: string, to: string, signal: AbortSignal): Promise<void> {
    this.#open(signal);
    this.#files.move(from, to);
  }
  async removeFile(path: string, recursive: boolean, signal: AbortSignal): Promise<void> {
    this.#open(signal);
    this.#files.remove(path, recursive);
  }
  async makeFolder(path: string, options: { mode?: string; user?: string }, signal: AbortSignal): Promise<void> {
    this.#open(signal);
    this.#files.makeFolder(path, options.mode);
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
  // What follows is not built yet.
  startProcess(): AsyncIterable<ExecEvent> {
    throw new Problem('guest.unsupported');
  }
  attachProcess(): AsyncIterable<ExecEvent> {
    throw new Problem('guest.unsupported');
  }
  listProcesses(): Promise<ProcessInfo[]> {
    throw new Problem('guest.unsupported');
  }
  writeProcess(): Promise<void> {
    throw new Problem('guest.unsupported');
  }
  signalProcess(): Promise<void> {
    throw new Problem('guest.unsupported');
  }
  resizeProcess(): Promise<void> {
    throw new Problem('guest.unsupported');
  }
  watchFiles(): AsyncIterable<FileChange | null> {
    throw new Problem('guest.unsupported');
  }

  async quiesce(): Promise<void> {
    this.#open();
    this.#quiet = true;
  }
  async resynchronise(): Promise<void> {
    if (this.#over.signal.aborted) throw this.#over.signal.reason;
    this.#quiet = false;
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
  #saveRam(): void {
    this.vm.ram.log = this.vm.ram.log.slice(-logBytesMax);
    this.world.saveVm(this.vm);
  }
}

function* slices(data: Buffer): Generator<Buffer> {
  for (let at = 0; at < data.length; at += limits.channel.frameBytes) yield data.subarray(at, at + limits.channel.frameBytes);
}
