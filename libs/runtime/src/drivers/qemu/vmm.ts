import { chown, mkdir, open, readFile, type FileHandle } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { Cleanup, type Clock, errorCode, type Secret } from '@alcove/base';
import { isProblem, Problem } from '@alcove/contracts';
import { confinementOf } from './confinement';
import { DeviceStatePipe } from './device-state';
import { findProgram, isRunning, killHard, type ProcessIdentity, spawnDetached, waitGone } from './processes';
import { consoleDevice, inherited, runFiles, type VmmShape, vmmArguments } from './qemu.args';
import { QmpClient, type QmpEvent } from './qmp';

/** How long a VMM may take to open its control socket, and to leave after it was told to. */
const launchTimeoutMs = 20_000;
const quitTimeoutMs = 5_000;
const loadTimeoutMs = 30_000;

export interface LaunchOrder {
  qemuPath: string;
  shape: VmmShape;
  /** The run folder: made here, for the VMM's own user alone. */
  folder: string;
  /** Paths of the files that are opened here and handed over. `base` only with a room's disk, kernel and initrd only for a boot. */
  files: { memory: string; root: string; disk: string; base?: string; kernel?: string; initrd?: string };
  passphrase?: Secret<Buffer>;
  uid: number | null;
  clock: Clock;
  /** Called as soon as there is a process, before anything else can fail. */
  onSpawned?: (identity: ProcessIdentity) => Promise<void>;
}

/** One VMM process and its control connection. It knows neither rooms nor images. */
export class Vmm {
  readonly monitor: QmpClient;
  readonly identity: ProcessIdentity;
  readonly folder: string;
  readonly #clock: Clock;
  readonly #uid: number | null;
  readonly #state: Socket | undefined;
  /** True once the guest itself asked for the end: power off, reset, panic. */
  endedByGuest = false;

  private constructor(monitor: QmpClient, identity: ProcessIdentity, folder: string, about: { clock: Clock; uid: number | null; state?: Socket }) {
    this.monitor = monitor;
    this.identity = identity;
    this.folder = folder;
    this.#clock = about.clock;
    this.#uid = about.uid;
    this.#state = about.state;
    monitor.onEvent((event) => {
      if (event.event === 'SHUTDOWN' && event.data.guest === true) this.endedByGuest = true;
    });
  }

  /** Starts a VMM and connects to it. Nothing is left behind when that fails: `engine.missing`, `engine.failed`, or what opening a file gave. */
  static async launch(order: LaunchOrder): Promise<Vmm> {
    const undo = new Cleanup();
    const handles = new Cleanup();
    try {
      const program = await findProgram(order.qemuPath, 'qemu-system-x86');
      await mkdir(order.folder, { recursive: true, mode: 0o700 });
      if (order.uid !== null) await chown(order.folder, order.uid, order.uid);
      const files = await openFiles(order, handles);
      const log = await open(join(order.folder, runFiles.log), 'a', 0o600);
      handles.add('log', () => log.close());
      const [first = program, ...words] = [...(await confinementOf(order.uid)), program, ...vmmArguments(order.shape)];
      const spawned = await spawnDetached({
        program: first,
        args: words,
        folder: order.folder,
        files,
        log: log.fd,
        uid: order.uid,
        ...(order.passphrase ? { secret: order.passphrase } : {}),
      });
      undo.add('process', () => killHard(spawned.identity, order.clock));
      undo.add('state socket', () => spawned.state.destroy());
      await order.onSpawned?.(spawned.identity);
      const monitor = await connectMonitor(order, spawned.identity);
      return new Vmm(monitor, spawned.identity, order.folder, { clock: order.clock, uid: order.uid, state: spawned.state });
    } catch (error) {
      await undo.run();
      throw error;
    } finally {
      await handles.run();
    }
  }

  /** Connects to a VMM that an earlier process launched. Problem `engine.failed` when it does not answer. */
  static async attach(folder: string, identity: ProcessIdentity, clock: Clock, uid: number | null): Promise<Vmm> {
    try {
      const monitor = await QmpClient.connect(join(folder, runFiles.monitor));
      return new Vmm(monitor, identity, folder, { clock, uid });
    } catch (error) {
      throw isProblem(error) ? error : new Problem('engine.failed', { detail: 'the control socket of a virtual machine does not answer', cause: error });
    }
  }

  /** Loads device state into a VMM that waits for it. The guest does not run yet. */
  async loadDeviceState(state: Buffer): Promise<void> {
    if (!this.#state) throw new Problem('engine.failed', { detail: 'device state can only be loaded by who launched' });
    await this.monitor.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] });
    const loaded = this.#waitForEvent('MIGRATION', (data) => data.status === 'completed' || data.status === 'failed', loadTimeoutMs);
    loaded.catch(() => undefined);
    await this.monitor.execute('migrate-incoming', { uri: `fd:${inherited.state}` });
    this.#state.end(state);
    const { status } = await loaded;
    if (status !== 'completed') throw new Problem('engine.failed', { detail: 'the device state was not accepted', cause: await this.logTail() });
  }

  /** Makes ready to save device state; returns the pipe, which the caller removes. */
  prepareSave(): Promise<DeviceStatePipe> {
    return DeviceStatePipe.make(this.folder, this.#uid);
  }

  /** Resolves with the data of the next event of that name that fits; rejects when the VMM ends or timeoutMs pass. */
  #waitForEvent(name: string, fits: (data: Record<string, unknown>) => boolean, timeoutMs: number): Promise<Record<string, unknown>> {
    return new Promise((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer);
        forget();
      };
      const fail = (detail: string) => {
        settle();
        reject(new Problem('engine.failed', { detail }));
      };
      const timer = setTimeout(() => fail(`no ${name} within ${timeoutMs} ms`), timeoutMs);
      const forget = this.monitor.onEvent((event: QmpEvent) => {
        if (event.event !== name || !fits(event.data)) return;
        settle();
        resolve(event.data);
      });
      void this.monitor.closed.then(() => fail('the virtual machine ended'));
    });
  }

  /** Resolves when the guest agent has opened the channel: the first sign of life of user space. */
  async guestOpenedChannel(timeoutMs: number): Promise<void> {
    await this.#waitForEvent('VSERPORT_CHANGE', (data) => data.open === true, timeoutMs);
  }

  /** Connects to the host's end of the guest channel. One connection at a time. */
  connectChannel(): Promise<Socket> {
    return connectTo(join(this.folder, runFiles.channel));
  }

  stop(): Promise<unknown> {
    return this.monitor.execute('stop', {});
  }

  resume(): Promise<unknown> {
    return this.monitor.execute('cont', {});
  }

  /** Ends the VMM in order, so that it writes what it holds of the disk; by force when it does not leave. */
  async quit(): Promise<void> {
    await this.monitor.execute('quit', {}).catch(() => undefined);
    if (!(await waitGone(this.identity, this.#clock, quitTimeoutMs))) await killHard(this.identity, this.#clock);
    this.monitor.close();
    this.#state?.destroy();
  }

  /** Ends the VMM at once. */
  async kill(): Promise<void> {
    await killHard(this.identity, this.#clock);
    this.monitor.close();
    this.#state?.destroy();
  }

  /** The end of what the kernel has printed so far, as far as it was read. It is the guest's text. */
  console = '';

  /** Reads on in what the kernel prints; true when there was something. */
  async readConsole(): Promise<boolean> {
    const text = await this.monitor.execute('ringbuf-read', { device: consoleDevice, size: 65_536, format: 'utf8' });
    this.console = (this.console + text).slice(-16_384);
    return text.length > 0;
  }

  /** The end of what the VMM itself printed. */
  logTail(): Promise<string> {
    return readLogTail(this.folder);
  }
}

async function openFiles(order: LaunchOrder, handles: Cleanup): Promise<Map<number, number>> {
  const writesMemory = order.shape.memory === 'captured';
  const wanted: [number, string | undefined, string][] = [
    [inherited.memory, order.files.memory, writesMemory ? 'r+' : 'r'],
    [inherited.root, order.files.root, 'r'],
    [inherited.base, order.files.base, 'r'],
    [inherited.disk, order.files.disk, 'r+'],
    [inherited.kernel, order.files.kernel, 'r'],
    [inherited.initrd, order.files.initrd, 'r'],
    // A room's own user is in no group that may open it.
    [inherited.kvm, order.shape.accelerator === 'kvm' ? '/dev/kvm' : undefined, 'r+'],
  ];
  const numbers = new Map<number, number>();
  for (const [number, path, flags] of wanted) {
    if (path === undefined) continue;
    const handle: FileHandle = await open(path, flags);
    handles.add(path, () => handle.close());
    numbers.set(number, handle.fd);
  }
  return numbers;
}

/** The VMM makes its socket some 20 ms after it was started; nothing announces it, so it is tried until then. */
async function connectMonitor(order: LaunchOrder, identity: ProcessIdentity): Promise<QmpClient> {
  const deadline = order.clock.monotonic() + launchTimeoutMs;
  for (;;) {
    try {
      return await QmpClient.connect(join(order.folder, runFiles.monitor));
    } catch (error) {
      const code = errorCode(error);
      if (code !== 'ENOENT' && code !== 'ECONNREFUSED') {
        if (!isProblem(error)) throw error;
      }
      if (!(await isRunning(identity))) {
        throw new Problem('engine.failed', { detail: 'the virtual machine ended at its start', cause: await readLogTail(order.folder) });
      }
      if (order.clock.monotonic() > deadline) throw new Problem('engine.failed', { detail: 'the virtual machine did not open its control socket' });
      await order.clock.sleep(2);
    }
  }
}

export async function readLogTail(folder: string): Promise<string> {
  const text = await readFile(join(folder, runFiles.log), 'utf8').catch(() => '');
  return text.slice(-4096);
}

function connectTo(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
    socket.once('error', (error) => reject(new Problem('engine.failed', { detail: 'the guest channel does not answer', cause: error })));
  });
}
