import { mkdir, readdir, realpath, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errorCode } from '@alcove/base';
import { type ImageRef, Problem } from '@alcove/contracts';
import type { CopySource, Driver, DriverCapabilities, FoundVm, MemoryFigures, MemorySource, ProbeReport, RoomKey, RoomSpec, Sealed, SealOrder, Started } from '../../driver';
import { diskStateOf, RoomDisk } from '../../disk/room-disk';
import { dropSnapshot, listSnapshots } from '../../disk/snapshots';
import { syncFolder } from '../../image/durable';
import { openSession } from './boot-attempts';
import type { QemuContext, QemuDriverOptions } from './context';
import { copyRoom, removeUnfinishedCopies } from './copy';
import { isolationOf, type QemuEngine } from './engine';
import { measureMemory } from './pages';
import { probeMachine, requireEngine } from './probe';
import { killHard } from './processes';
import { RunningVm } from './running-vm';
import { findRuns, type FoundRun, removeDeadRuns } from './run-folder';
import { findSealed, sealRoom } from './seal';
import { bootRoom, restoreRoom } from './start';
import { Steps } from './steps';
import { StoreLayout } from './store-layout';
import { UserPool } from './user-pool';
import { Vmm } from './vmm';

const firstPingMs = 2_000;

type ExitListener = (room: RoomKey, reason: 'vmm_exited' | 'guest_dead') => void;

/**
 * Makes the QEMU driver for this host. It does not fail where no room can run: probe() says why, and every start is refused with `engine.missing` or `engine.failed`.
 * Problem `engine.failed` when the host folder's path is too long.
 */
export async function createQemuDriver(options: QemuDriverOptions): Promise<QemuDriver> {
  await mkdir(options.storeDir, { recursive: true, mode: 0o755 });
  await mkdir(options.hostDir, { recursive: true, mode: 0o755 });
  // VMs are found by their working directory, which the kernel names without links.
  const layout = new StoreLayout(await realpath(options.storeDir), await realpath(options.hostDir));
  await mkdir(layout.runRoot, { recursive: true, mode: 0o711 });
  const users = new UserPool(options.uidBase);
  const alive = await findRuns(layout.runRoot);
  await removeDeadRuns(layout.runRoot, alive);
  for (const run of alive) users.occupy(run.uid);
  return new QemuDriver(options, layout, users);
}

export class QemuDriver implements Driver {
  readonly capabilities: DriverCapabilities = { name: 'qemu', memoryImage: true, encryptsMemoryImage: true, encryptsDisk: true, detached: true };
  readonly #context: QemuContext;
  readonly #running = new Map<string, RunningVm>();
  #engine: Promise<QemuEngine> | undefined;
  #onExit: ExitListener = () => undefined;

  constructor(options: QemuDriverOptions, layout: StoreLayout, users: UserPool) {
    this.#context = { options, layout, users, engine: () => this.#requireEngine() };
  }

  async probe(): Promise<ProbeReport> {
    const { report, engine } = await probeMachine(this.#context.options);
    if (engine) this.#engine = Promise.resolve(engine);
    return report;
  }

  /** Asked for once; a failure is asked for again, so that installing what is missing is enough. */
  #requireEngine(): Promise<QemuEngine> {
    this.#engine ??= requireEngine(this.#context.options).catch((error: unknown) => {
      this.#engine = undefined;
      throw error;
    });
    return this.#engine;
  }

  boot(room: RoomSpec, signal?: AbortSignal): Promise<Started> {
    return this.#start(room, () => bootRoom(this.#context, room, signal));
  }

  restore(room: RoomSpec, source: MemorySource, signal?: AbortSignal): Promise<Started> {
    return this.#start(room, () => restoreRoom(this.#context, room, source, signal));
  }

  async #start(room: RoomSpec, start: () => Promise<RunningVm>): Promise<Started> {
    const running = this.#running.get(room.roomId);
    if (running?.room.incarnation === room.incarnation) return running.started;
    if (running) throw new Problem('room.busy', { detail: `incarnation ${running.room.incarnation} of this room runs on this host` });
    return this.#adopt(await start());
  }

  #adopt(vm: RunningVm): Started {
    const { clock, log } = this.#context.options;
    this.#running.set(vm.room.roomId, vm);
    vm.continueAfterFullDisk(clock, log);
    void vm.keepLogShort(clock);
    void vm.vmm.monitor.closed.then(() => this.#ended(vm));
    return vm.started;
  }

  /** The control connection of a VM has ended: so has the VM, or it is not to be trusted with a guest any more. */
  async #ended(vm: RunningVm): Promise<void> {
    if (vm.expected) return;
    vm.expected = true;
    const { log } = this.#context.options;
    log.warn({ ...vm.room, log: await vm.vmm.logTail() }, 'a virtual machine has ended by itself');
    await this.#forget(vm, () => vm.vmm.kill()).catch((error: unknown) => log.error({ ...vm.room, err: error }, 'the rest of it could not be removed'));
    this.#onExit(vm.room, vm.vmm.endedByGuest ? 'guest_dead' : 'vmm_exited');
  }

  /** Ends a VM in the given way and removes what belonged to its run. */
  async #forget(vm: RunningVm, end: () => Promise<void>): Promise<void> {
    vm.started.guest.close();
    await end();
    await rm(vm.vmm.folder, { recursive: true, force: true });
    this.#context.users.release(vm.uid);
    if (this.#running.get(vm.room.roomId) === vm) this.#running.delete(vm.room.roomId);
  }

  async seal(room: RoomSpec, order: SealOrder): Promise<Sealed> {
    const vm = this.#running.get(room.roomId);
    if (vm?.room.incarnation !== room.incarnation) {
      const image = await findSealed(this.#context, room, order);
      if (image) return { image, stallMs: 0, steps: {} };
      throw new Problem('room.not_running', { detail: 'this incarnation does not run on this host' });
    }
    const sealed = await sealRoom(this.#context, vm, room, order);
    this.#running.delete(room.roomId);
    return sealed;
  }

  async stop(room: RoomKey): Promise<{ wasRunning: boolean }> {
    const vm = this.#running.get(room.roomId);
    if (vm?.room.incarnation === room.incarnation) {
      vm.expected = true;
      await this.#forget(vm, () => vm.vmm.quit());
      return { wasRunning: true };
    }
    const run = (await this.#found()).find((found) => found.roomId === room.roomId && found.incarnation === room.incarnation);
    if (!run) return { wasRunning: false };
    await this.#endFound(run);
    return { wasRunning: true };
  }

  /** Ends a VM that another process has started; in order when its control socket answers. */
  async #endFound(run: FoundRun): Promise<void> {
    const { clock } = this.#context.options;
    const vmm = await Vmm.attach(run.folder, run.identity, clock, run.uid).catch(() => undefined);
    await (vmm ? vmm.quit() : killHard(run.identity, clock));
    await rm(run.folder, { recursive: true, force: true });
    this.#context.users.release(run.uid);
  }

  async prune(roomId: string, keep: readonly string[]): Promise<void> {
    const folder = this.#context.layout.imageFolder(roomId);
    const names = await readdir(folder).catch(() => []);
    for (const name of names) {
      if (!keep.includes(name)) await rm(join(folder, name), { force: true });
    }
    if (names.length > 0) await syncFolder(folder);
    // Disk states can be dropped only by the VMM that has the disk open; without one they go at the next prune after a start.
    const vm = this.#running.get(roomId);
    if (!vm) return;
    const keptStates = keep.map(diskStateOf);
    for (const state of await listSnapshots(vm.vmm.monitor)) {
      if (!keptStates.includes(state)) await dropSnapshot(vm.vmm.monitor, state);
    }
  }

  async copy(source: CopySource, target: RoomSpec, order: SealOrder, signal?: AbortSignal): Promise<ImageRef> {
    if (source.image.roomId === target.roomId) throw new Problem('request.invalid', { detail: 'a room is not copied over itself' });
    await this.#refuseRunning(source.image.roomId, target.roomId);
    return copyRoom(this.#context, { source, target, order, ...(signal ? { signal } : {}) });
  }

  async #refuseRunning(...roomIds: string[]): Promise<void> {
    const runs = await this.#found();
    if (roomIds.some((roomId) => this.#running.has(roomId) || runs.some((run) => run.roomId === roomId))) throw new Problem('room.busy', { detail: 'a virtual machine of this room runs' });
  }

  async discard(roomId: string): Promise<void> {
    await this.#refuseRunning(roomId);
    await removeUnfinishedCopies(this.#context.layout, roomId);
    const folder = this.#context.layout.roomFolder(roomId);
    await rm(folder, { recursive: true, force: true });
    await syncFolder(dirname(folder)).catch((error: unknown) => {
      // The first room that was discarded before any had a folder.
      if (errorCode(error) !== 'ENOENT') throw error;
    });
  }

  async inspect(): Promise<FoundVm[]> {
    const runs = await this.#found();
    return runs.map(({ roomId, incarnation, pid, templateId, whole }) => ({ roomId, incarnation, pid, templateId, whole }));
  }

  #found(): Promise<FoundRun[]> {
    return findRuns(this.#context.layout.runRoot);
  }

  async recover(found: FoundVm): Promise<Started> {
    const known = this.#running.get(found.roomId);
    if (known?.room.incarnation === found.incarnation) await this.#letGo(known);
    const run = (await this.#found()).find((one) => one.roomId === found.roomId && one.incarnation === found.incarnation);
    if (!run?.whole) throw new Problem('room.not_running', { detail: 'there is no whole virtual machine of this incarnation' });
    const { clock, log } = this.#context.options;
    const steps = new Steps(clock);
    const engine = await this.#context.engine();
    const vmm = await Vmm.attach(run.folder, run.identity, clock, run.uid);
    try {
      const { status } = await vmm.monitor.execute('query-status', {});
      if (status !== 'running') {
        // Stopped by a seal that was cut off: what it has made was never acknowledged.
        const disk = await RoomDisk.open(this.#context.layout.roomFolder(found.roomId));
        await disk.markMovedOn();
        await vmm.resume();
      }
      const guest = await openSession(vmm, { clock, log });
      // The guest may have answered the sync before it noticed that its last host had gone, and then forgot the session.
      await guest.ping(firstPingMs).catch(() => guest.resynchronise());
      steps.lap('recover');
      this.#context.users.occupy(run.uid);
      const started = { guest, isolation: isolationOf(engine.accelerator), accelerator: engine.accelerator, bootAttempts: run.bootAttempts, steps: steps.all };
      return this.#adopt(new RunningVm({ room: found, vmm, uid: run.uid, memoryFile: run.memoryFile, started }));
    } catch (error) {
      vmm.monitor.close();
      throw error;
    }
  }

  /** Drops the connections to a VM that goes on running: its channel is about to be opened anew. */
  async #letGo(vm: RunningVm): Promise<void> {
    vm.expected = true;
    vm.started.guest.close();
    vm.vmm.monitor.close();
    await vm.vmm.monitor.closed;
    this.#running.delete(vm.room.roomId);
  }

  /** What a running room costs: its own pages, and its VMM. */
  async memoryOf(room: RoomKey): Promise<MemoryFigures> {
    const vm = this.#running.get(room.roomId);
    if (vm?.room.incarnation !== room.incarnation) throw new Problem('room.not_running');
    return measureMemory(vm.vmm.identity.pid, vm.memoryFile);
  }

  onExit(listener: ExitListener): void {
    this.#onExit = listener;
  }

  async close(): Promise<void> {
    for (const vm of [...this.#running.values()]) await this.#letGo(vm);
  }
}
