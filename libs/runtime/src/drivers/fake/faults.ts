import { existsSync, readFileSync } from 'node:fs';
import type { Clock, Random } from '@alcove/base';
import { Problem, type ProblemCode } from '@alcove/contracts';

export const fakeVerbs = ['boot', 'restore', 'seal', 'copy', 'stop', 'prune', 'discard', 'inspect', 'recover'] as const;
export type FakeVerb = (typeof fakeVerbs)[number];

/** Where in a verb a fault strikes: before it did anything, when it is half done, or when it is done and only its answer is lost. */
export type FaultPlace = 'before' | 'middle' | 'after';

/**
 * One scripted fault. `fail` throws a Problem of `code` (default `engine.failed`) · `hang` waits until the call is aborted · `deaf` waits for ever, aborted
 * or not · `slow` waits `ms` · `die` ends the room's VM · `disk_full` throws `host.disk_full` · `crash` kills this process with SIGKILL.
 */
export interface Fault {
  verb: FakeVerb;
  kind: 'fail' | 'hang' | 'deaf' | 'slow' | 'die' | 'disk_full' | 'crash';
  roomId?: string;
  place?: FaultPlace;
  code?: ProblemCode;
  ms?: number;
  /** How often it strikes; once unless told. */
  times?: number;
}

/** Seeded chance of a fault, for the simulator: at each place of each verb, one in `oneIn` calls meets one of `kinds`. */
export interface FaultChance {
  oneIn: number;
  kinds: readonly Fault['kind'][];
  slowMs: number;
  /** Verbs that are spared: a simulator wants `stop` to work in the end. */
  spare?: readonly FakeVerb[];
}

export interface FaultSources {
  script?: readonly Fault[];
  chance?: FaultChance;
  /** A JSON file with a list of faults, read at every call: how a test scripts another process. Its faults strike for as long as they are in it. */
  file?: string;
}

/** Decides at each place of each verb whether something goes wrong there. */
export class Faults {
  readonly #script: (Fault & { left: number })[];
  constructor(
    private readonly sources: FaultSources,
    private readonly clock: Clock,
    private readonly random: Random,
  ) {
    this.#script = (sources.script ?? []).map((fault) => ({ ...fault, left: fault.times ?? 1 }));
  }
  add(fault: Fault): void {
    this.#script.push({ ...fault, left: fault.times ?? 1 });
  }
  /** Forgets what has not struck yet. */
  clear(): void {
    this.#script.length = 0;
  }
  /** Strikes if a fault is due; `die` is what ends the VM. */
  async strike(verb: FakeVerb, place: FaultPlace, roomId: string, die: () => void, signal?: AbortSignal): Promise<void> {
    const fault = this.#due(verb, place, roomId);
    if (!fault) return;
    switch (fault.kind) {
      case 'fail':
        throw new Problem(fault.code ?? 'engine.failed', { detail: `scripted at ${verb}` });
      case 'disk_full':
        throw new Problem('host.disk_full', { detail: `scripted at ${verb}` });
      case 'slow':
        await this.clock.sleep(fault.ms ?? 1000, signal);
        return;
      case 'hang':
        await untilAborted(signal);
        return;
      case 'deaf':
        await new Promise<never>(() => undefined);
        return;
      case 'die':
        die();
        throw new Problem('guest.closed', { detail: `died at ${verb}` });
      case 'crash':
        process.kill(process.pid, 'SIGKILL');
    }
  }

  #due(verb: FakeVerb, place: FaultPlace, roomId: string): Fault | undefined {
    const matches = (fault: Fault) => fault.verb === verb && (fault.place ?? 'before') === place && (fault.roomId === undefined || fault.roomId === roomId);
    const scripted = this.#script.find((fault) => fault.left > 0 && matches(fault));
    if (scripted) {
      scripted.left -= 1;
      return scripted;
    }
    return this.#fromFile().find(matches) ?? this.#byChance(verb, place);
  }
  #fromFile(): Fault[] {
    if (!this.sources.file || !existsSync(this.sources.file)) return [];
    return JSON.parse(readFileSync(this.sources.file, 'utf8')) as Fault[];
  }
  #byChance(verb: FakeVerb, place: FaultPlace): Fault | undefined {
    const chance = this.sources.chance;
    if (!chance || chance.spare?.includes(verb) || this.random.below(chance.oneIn) !== 0) return undefined;
    const kind = chance.kinds[this.random.below(chance.kinds.length)];
    return kind === undefined ? undefined : { verb, place, kind, ms: this.random.below(chance.slowMs) };
  }
}

/** Rejects with the signal's reason; without a signal it never settles. */
function untilAborted(signal?: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (!signal) return;
    if (signal.aborted) reject(signal.reason as Error);
    else signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
}
