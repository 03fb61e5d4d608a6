import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { copyFile, stat, truncate } from 'node:fs/promises';
import type { Clock } from '@alcove/base';
import { exitCodes } from '../failure';
import type { ServicePlan } from './plan';
import type { ServiceStatus } from './status-file';

const firstDelayMs = 250;
const maxDelayMs = 10_000;
/** A process that lived this long starts with the shortest delay again. */
const healthyMs = 60_000;
const logBytes = 32 << 20;

/** The wait before start number `restarts` in a row: doubling, bounded. */
export function backOffMs(restarts: number): number {
  return Math.min(maxDelayMs, firstDelayMs * 2 ** Math.min(restarts, 16));
}

/**
 * Keeps one process running: starts it again when it ends, later and later while it keeps ending soon, and never when it says that its configuration is wrong
 * (exit 78). Its output goes to one log file.
 */
export class Service {
  readonly #plan: ServicePlan;
  #child: ChildProcess | null = null;
  #ended: Promise<void> = Promise.resolve();
  #state: ServiceStatus['state'] = 'waiting';
  #restarts = 0;
  #inARow = 0;
  #lastEnd: ServiceStatus['lastEnd'] = null;
  readonly #halt = new AbortController();

  constructor(
    plan: ServicePlan,
    readonly logFile: string,
    private readonly clock: Clock,
    private readonly onChange: () => void,
  ) {
    this.#plan = plan;
  }

  get status(): ServiceStatus {
    return { name: this.#plan.name, state: this.#state, pid: this.#child?.pid ?? null, restarts: this.#restarts, lastEnd: this.#lastEnd };
  }

  /** Starts it and keeps it running until stop(). */
  start(): void {
    if (this.#halt.signal.aborted || this.#child) return;
    const started = this.clock.monotonic();
    const log = openSync(this.logFile, 'a', 0o640);
    const child = spawn(this.#plan.command, this.#plan.args, { cwd: '/', env: this.#plan.env, stdio: ['ignore', log, log] });
    closeSync(log);
    this.#child = child;
    this.#change('starting');
    this.#ended = new Promise((resolve) => {
      const end = (how: string | number): void => {
        if (this.#child !== child) return;
        this.#child = null;
        this.#lastEnd = how;
        resolve();
        void this.#afterEnd(how, this.clock.monotonic() - started);
      };
      child.once('error', (error) => end(error.message));
      child.once('exit', (code, signal) => end(signal ?? code ?? 'unknown'));
    });
  }

  /** The process answers: shown as ready until it ends. */
  markReady(): void {
    if (this.#child && this.#state === 'starting') this.#change('ready');
  }

  /** Ends it for good: asked first, killed after deadlineMs. */
  async stop(deadlineMs: number): Promise<void> {
    this.#halt.abort(new Error('stopped'));
    const child = this.#child;
    if (child) {
      child.kill(this.#plan.stopSignal);
      const timer = setTimeout(() => child.kill('SIGKILL'), deadlineMs);
      await this.#ended;
      clearTimeout(timer);
    }
    this.#change('stopped');
  }

  /** Keeps the log bounded: the process appends, so cutting the file after copying it loses at most a line. */
  async boundLog(): Promise<void> {
    const { size } = await stat(this.logFile).catch(() => ({ size: 0 }));
    if (size <= logBytes) return;
    await copyFile(this.logFile, `${this.logFile}.1`);
    await truncate(this.logFile);
  }

  async #afterEnd(how: string | number, livedMs: number): Promise<void> {
    if (this.#halt.signal.aborted) return;
    if (how === exitCodes.configuration) {
      this.#change('misconfigured');
      return;
    }
    this.#inARow = livedMs > healthyMs ? 0 : this.#inARow + 1;
    this.#restarts++;
    this.#change('backing-off');
    try {
      await this.clock.sleep(backOffMs(this.#inARow - 1), this.#halt.signal);
    } catch {
      return;
    }
    this.start();
  }

  #change(state: ServiceStatus['state']): void {
    this.#state = state;
    this.onChange();
  }
}
