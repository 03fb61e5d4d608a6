import type { Clock, Log } from '@alcove/base';
import type { LockOutcome } from '@alcove/db';

/** What a reconciler did, as counts: zero everywhere means that all was well. */
export interface ReconcileReport {
  readonly [what: string]: number;
}

/** Looks at the truth and puts right what a crash, a lost queue or a lost message left behind. It takes no input, and must be safe to run twice at once. */
export interface Reconciler {
  readonly name: string;
  /** Pause between the end of one run and the start of the next, milliseconds. */
  readonly everyMs: number;
  run(): Promise<ReconcileReport>;
}

/** AdvisoryLocks of libs/db, or the simulator's. */
export interface Locks {
  withAdvisoryLock<T>(name: string, fn: () => Promise<T>): Promise<LockOutcome<T>>;
}

export interface ReconcilerDriverOptions {
  clock: Clock;
  log: Log;
  locks: Locks;
  /** Told of every run, for metrics. */
  onRun?: (name: string, report: ReconcileReport | null, durationMs: number) => void;
}

/** Runs each reconciler again and again, each under a lock of its name, so that of several workers one runs it at a time. */
export class ReconcilerDriver {
  readonly #options: ReconcilerDriverOptions;
  readonly #reconcilers = new Map<string, Reconciler>();
  readonly #stopped = new AbortController();
  #loops: Promise<void>[] = [];

  constructor(options: ReconcilerDriverOptions) {
    this.#options = options;
  }

  /** Before start(). Throws a TypeError when the name is taken. */
  register(...reconcilers: readonly Reconciler[]): void {
    for (const reconciler of reconcilers) {
      if (this.#reconcilers.has(reconciler.name)) throw new TypeError(`two reconcilers named ${reconciler.name}`);
      this.#reconcilers.set(reconciler.name, reconciler);
    }
  }

  start(): void {
    if (this.#loops.length > 0) return;
    this.#loops = [...this.#reconcilers.values()].map((reconciler) => this.#repeat(reconciler));
  }

  /** Runs one now; null when another process is at it or when it failed. Throws a TypeError for an unknown name. */
  async runOnce(name: string): Promise<ReconcileReport | null> {
    const reconciler = this.#reconcilers.get(name);
    if (!reconciler) throw new TypeError(`no reconciler named ${name}`);
    const { clock, log, locks, onRun } = this.#options;
    const startedAt = clock.monotonic();
    try {
      const outcome = await locks.withAdvisoryLock(`reconciler:${name}`, () => reconciler.run());
      if (!outcome.ran) return null;
      onRun?.(name, outcome.value, clock.monotonic() - startedAt);
      const found = Object.values(outcome.value).some((count) => count > 0);
      if (found) log.info({ reconciler: name, report: outcome.value }, 'reconciled');
      return outcome.value;
    } catch (error) {
      log.warn({ err: error, reconciler: name }, 'a reconciler failed; it will run again');
      onRun?.(name, null, clock.monotonic() - startedAt);
      return null;
    }
  }

  /** Resolves when the runs under way have ended. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await Promise.all(this.#loops);
  }

  /** Nest's hook: the first one, so that nothing new begins. */
  onModuleDestroy(): Promise<void> {
    return this.stop();
  }

  async #repeat(reconciler: Reconciler): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      await this.runOnce(reconciler.name);
      await this.#options.clock.sleep(reconciler.everyMs, this.#stopped.signal).catch(() => undefined);
    }
  }
}
