import type { Clock } from '@alcove/base';
import { type ExecEvent, Problem, type ProcessInfo, type ProcessStart, type TerminalSize } from '@alcove/contracts';
import type { ProcessName } from '../../guest-session';
import { signalName } from '../../guest-channel/problems';
import { Wake } from '../../guest-channel/wake';
import type { Chunk, Turn } from './commands';
import { Listener } from './listener';
import { type ShellRoom, type ShellState, startShell, takeTurn } from './shell';
import { shown, type as typeKeys } from './terminal';

type Exit = Extract<ExecEvent, { event: 'exit' }>;

/** A kept process as it is in the room's memory. Times are of the clock's now(). */
export interface KeptProcess {
  shell: ShellState;
  info: ProcessInfo;
  /** Null: for as long as it likes. */
  endsAt: number | null;
  /** By SIGSTOP. */
  stopped: boolean;
}
export interface ProcessTable {
  nextPid: number;
  running: KeptProcess[];
  ended: { pid: number; tag: string | null; endedAt: number; exit: Exit }[];
  /** The guest was quiesced then: nothing runs until it is claimed, or found out to go on. */
  frozenAt: number | null;
}

export const emptyProcessTable = (): ProcessTable => ({ nextPid: 101, running: [], ended: [], frozenAt: null });

const endedKeptMs = 30_000;
const endedKept = 64;
const pipeBytes = 64 << 10;
const sleepMsMax = 24 * 3600_000;
const harmless = new Set(['SIGCHLD', 'SIGWINCH', 'SIGURG', 'SIGCONT']);
const keptMax = 256;
/** SIGRTMAX of Linux. */
const signalMax = 64;

interface Live {
  process: KeptProcess;
  listeners: Set<Listener>;
  changed: Wake;
  /** For those who wait for it to read its input. */
  readers: Set<() => void>;
  over: boolean;
}

/** The processes of one fake VM that outlive who started them. All they are is in the table, which is a part of the VM's memory; what runs here only moves it on. */
export class KeptProcesses {
  readonly #live = new Map<number, Live>();
  #halted = false;

  constructor(
    private readonly table: ProcessTable,
    private readonly room: () => ShellRoom,
    private readonly clock: Clock,
    private readonly saved: () => void,
  ) {
    for (const process of table.running) this.#begin(process);
  }

  start(order: ProcessStart): Listener {
    if (this.table.running.length >= keptMax) throw new Problem('guest.limit', { detail: `${keptMax} processes are kept already` });
    const pid = this.table.nextPid;
    const shell = startShell({ ...order, pid, input: order.stdin || order.pty !== undefined }, this.room());
    this.table.nextPid += 1;
    const info: ProcessInfo = { pid, tag: order.tag ?? null, command: [...order.command], env: { ...order.env }, cwd: shell.cwd, user: shell.user, pty: order.pty !== undefined };
    const process = { shell, info, endsAt: order.timeoutMs ? this.clock.now() + order.timeoutMs : null, stopped: false };
    this.table.running.push(process);
    this.saved();
    return this.#listen(this.#begin(process));
  }
  attach(which: ProcessName): Listener {
    const live = this.#find(which);
    if (live) return this.#listen(live);
    this.#forgetOld();
    const ended = this.table.ended.findLast(({ pid, tag }) => ('pid' in which ? pid === which.pid : tag === which.tag));
    if (!ended) throw new Problem('exec.not_found');
    const listener = new Listener(() => undefined);
    listener.tell({ event: 'start', pid: ended.pid });
    listener.tell(ended.exit);
    return listener;
  }
  list(): ProcessInfo[] {
    return this.table.running.map(({ info }) => structuredClone(info));
  }
  /** Resolves when it has taken all but what a pipe holds. */
  async write(which: ProcessName, data: Buffer, close: boolean): Promise<void> {
    const live = this.#need(which);
    const { shell } = live.process;
    if (!shell.inputOpen) throw new Problem('request.invalid', { detail: 'it has no input' });
    if (close && shell.pty) throw new Problem('request.invalid', { detail: 'the input of a terminal does not end; 0x04 is what says so' });
    if (shell.pty) this.#type(live, data.toString('latin1'));
    else shell.input += data.toString('latin1');
    live.changed.notify();
    while (shell.input.length > pipeBytes && !live.over) await new Promise<void>((resolve) => live.readers.add(resolve));
    if (close && !live.over) shell.inputOpen = false;
    live.changed.notify();
    this.saved();
  }
  signal(which: ProcessName, number: number): void {
    if (!Number.isInteger(number) || number < 1 || number > signalMax) throw new Problem('request.invalid', { detail: 'no such signal' });
    const live = this.#need(which);
    const name = signalName(number);
    if (name === 'SIGSTOP' || name === 'SIGTSTP') live.process.stopped = true;
    else if (name === 'SIGCONT') live.process.stopped = false;
    else if (!harmless.has(name)) this.#end(live, { event: 'exit', exitCode: null, signal: name, timedOut: false, truncated: false });
    live.changed.notify();
    this.saved();
  }
  resize(which: ProcessName, size: TerminalSize): void {
    const live = this.#need(which);
    if (!live.process.shell.pty) throw new Problem('request.invalid', { detail: 'it has no terminal' });
    live.process.shell.pty = { cols: size.cols, rows: size.rows };
    this.saved();
  }

  freeze(): void {
    this.table.frozenAt ??= this.clock.now();
  }
  /** What was frozen goes on; the time between has not passed for it. */
  thaw(): void {
    const { frozenAt } = this.table;
    if (frozenAt === null) return;
    const missed = this.clock.now() - frozenAt;
    this.table.frozenAt = null;
    for (const { process, changed } of this.#live.values()) {
      if (process.endsAt !== null) process.endsAt += missed;
      for (const { memory } of process.shell.frames) if (memory['until'] !== undefined) memory['until'] = Number(memory['until']) + missed;
      changed.notify();
    }
  }
  /** The VM has ended. */
  halt(): void {
    this.#halted = true;
    for (const live of this.#live.values()) {
      live.over = true;
      this.#wakeAll(live);
    }
  }

  #begin(process: KeptProcess): Live {
    const live: Live = { process, listeners: new Set(), changed: new Wake(), readers: new Set(), over: false };
    this.#live.set(process.info.pid, live);
    void this.#run(live);
    return live;
  }
  #listen(live: Live): Listener {
    const listener = new Listener((gone) => {
      if (gone) live.listeners.delete(listener);
      live.changed.notify();
    });
    live.listeners.add(listener);
    listener.tell({ event: 'start', pid: live.process.info.pid });
    return listener;
  }
  async #run(live: Live): Promise<void> {
    // Whoever started it hears it from its first word.
    await Promise.resolve();
    while (!live.over) {
      const { process } = live;
      const now = this.clock.now();
      const held = this.table.frozenAt !== null || process.stopped;
      if (this.table.frozenAt === null && process.endsAt !== null && process.endsAt <= now) {
        this.#end(live, { event: 'exit', exitCode: null, signal: 'SIGTERM', timedOut: true, truncated: false });
      } else if (held || [...live.listeners].some((listener) => listener.full)) {
        await this.#rest(live, undefined);
      } else {
        await this.#turn(live);
      }
    }
  }
  async #turn(live: Live): Promise<void> {
    const { shell } = live.process;
    const had = shell.input.length;
    const turn = takeTurn(shell, this.room());
    if (this.#halted) return;
    this.#say(live, turn.out ?? []);
    if (shell.input.length !== had) this.#wakeReaders(live);
    if (turn.exit !== undefined) this.#end(live, { event: 'exit', exitCode: turn.exit, signal: null, timedOut: false, truncated: false });
    if (turn.out !== undefined || turn.exit !== undefined) this.saved();
    await this.#pause(live, turn);
  }
  async #pause(live: Live, turn: Turn): Promise<void> {
    if (turn.until !== undefined || turn.input) return this.#rest(live, turn.until);
    await new Promise((resolve) => setImmediate(resolve));
  }
  /** Until something about the process changes, its time is up, or `until`. */
  async #rest(live: Live, until: number | undefined): Promise<void> {
    const due = Math.min(until ?? Infinity, this.table.frozenAt === null ? (live.process.endsAt ?? Infinity) : Infinity);
    const patience = new AbortController();
    if (due !== Infinity) {
      const ms = Math.min(sleepMsMax, Math.max(0, due - this.clock.now()));
      void this.clock.sleep(ms, patience.signal).then(() => live.changed.notify(), () => undefined);
    }
    await live.changed.wait();
    patience.abort();
  }
  #say(live: Live, chunks: readonly Chunk[]): void {
    const pty = live.process.shell.pty !== null;
    for (const { to, data } of chunks) {
      if (data.length === 0) continue;
      const event: ExecEvent = { event: pty ? 'stdout' : to, data: (pty ? shown(data) : data).toString('base64') };
      for (const listener of live.listeners) listener.tell(event);
    }
  }
  #type(live: Live, keys: string): void {
    const { shell } = live.process;
    const { echo, interrupt } = typeKeys(shell, keys);
    for (const listener of live.listeners) if (echo !== '') listener.tell({ event: 'stdout', data: Buffer.from(echo, 'latin1').toString('base64') });
    if (!interrupt) return;
    // Ctrl-C ends what runs in front of the terminal's shell; without a shell, the program itself.
    if (shell.frames.length > 1) {
      shell.frames.length = 1;
      shell.code = 130;
    } else if (!/^(ba)?sh$/.test(live.process.info.command[0]?.split('/').at(-1) ?? '')) {
      this.#end(live, { event: 'exit', exitCode: null, signal: 'SIGINT', timedOut: false, truncated: false });
    }
  }
  #end(live: Live, exit: Exit): void {
    if (live.over) return;
    live.over = true;
    const { pid, tag } = live.process.info;
    this.#live.delete(pid);
    this.table.running.splice(this.table.running.indexOf(live.process), 1);
    this.table.ended.push({ pid, tag, endedAt: this.clock.now(), exit });
    this.#forgetOld();
    for (const listener of live.listeners) listener.tell(exit);
    this.#wakeAll(live);
    this.saved();
  }
  #forgetOld(): void {
    const from = this.clock.now() - endedKeptMs;
    this.table.ended = this.table.ended.filter(({ endedAt }) => endedAt >= from).slice(-endedKept);
  }
  #wakeAll(live: Live): void {
    live.changed.notify();
    this.#wakeReaders(live);
  }
  #wakeReaders(live: Live): void {
    for (const wake of live.readers) wake();
    live.readers.clear();
  }
  #find(which: ProcessName): Live | undefined {
    if ('pid' in which) return this.#live.get(which.pid);
    return [...this.#live.values()].findLast(({ process }) => process.info.tag === which.tag);
  }
  #need(which: ProcessName): Live {
    const live = this.#find(which);
    if (!live) throw new Problem('exec.not_found');
    return live;
  }
}
