import { limits, type Clock } from '@alcove/base';
import type { EdgeRoute } from '@alcove/contracts';
import type { ControlPlane } from './control-plane';

/** An answer of the control plane. `fresh`: it was asked after the question came, so what it says is not older than the request. */
export interface Known {
  readonly route: EdgeRoute;
  readonly fresh: boolean;
}

interface Kept {
  readonly route: EdgeRoute;
  readonly until: number;
  settled: boolean;
}

/** A question on its way, and the one that will follow it for those who came meanwhile. */
interface Question {
  readonly answer: Promise<EdgeRoute>;
  next: Promise<EdgeRoute> | null;
}

/**
 * Routes of rooms, kept for a moment. Kept are those of rooms that run (a host that no longer has one says so) and of rooms that are gone for good; where a room sleeps or
 * moves may be another a moment later, by somebody's connect() for whom this request is the next. Of one room at most one question is on its way and one waits behind it:
 * whoever wants an answer that is not older than the request shares that one.
 */
export class Routes {
  readonly #kept = new Map<string, Kept>();
  readonly #asking = new Map<string, Question>();
  readonly #waking = new Map<string, Promise<EdgeRoute>>();

  constructor(
    private readonly controlPlane: ControlPlane,
    private readonly clock: Clock,
  ) {}

  async find(roomId: string): Promise<Known> {
    const kept = this.#current(roomId);
    if (kept) return { route: kept.route, fresh: isOver(kept.route) };
    const asked = this.#asking.get(roomId);
    return asked ? { route: await asked.answer, fresh: false } : { route: await this.ask(roomId), fresh: true };
  }

  /** The answer to a question that begins after this call. */
  ask(roomId: string): Promise<EdgeRoute> {
    const asked = this.#asking.get(roomId);
    if (!asked) return this.#begin(roomId);
    const begin = (): Promise<EdgeRoute> => this.#begin(roomId);
    return (asked.next ??= asked.answer.then(begin, begin));
  }

  /** A fresh answer has refused somebody the surface: while it is kept, it does for all whom it refuses. */
  settle(roomId: string): void {
    const kept = this.#current(roomId);
    if (kept) kept.settled = true;
  }

  /** What is kept, if somebody was refused by it. */
  settled(roomId: string): EdgeRoute | null {
    const kept = this.#current(roomId);
    return kept?.settled ? kept.route : null;
  }

  /** All who want to wake one room wait for one wake. */
  wake(roomId: string): Promise<EdgeRoute> {
    const before = this.#waking.get(roomId);
    if (before) return before;
    this.forget(roomId);
    const waking = this.controlPlane.wake(roomId).then((route) => this.#keep(roomId, route));
    this.#waking.set(roomId, waking);
    const done = (): void => void this.#waking.delete(roomId);
    waking.then(done, done);
    return waking;
  }

  #begin(roomId: string): Promise<EdgeRoute> {
    const answer = this.controlPlane.route(roomId).then((route) => this.#keep(roomId, route));
    const question: Question = { answer, next: null };
    this.#asking.set(roomId, question);
    // Who waits behind it begins the next question in its place.
    const done = (): void => {
      if (this.#asking.get(roomId) === question && question.next === null) this.#asking.delete(roomId);
    };
    answer.then(done, done);
    return answer;
  }

  #current(roomId: string): Kept | undefined {
    const kept = this.#kept.get(roomId);
    return kept && kept.until > this.clock.monotonic() ? kept : undefined;
  }

  forget(roomId: string): void {
    this.#kept.delete(roomId);
  }

  get size(): number {
    return this.#kept.size;
  }

  #keep(roomId: string, route: EdgeRoute): EdgeRoute {
    this.#kept.delete(roomId);
    if (route.target === null && !isOver(route)) return route;
    this.#kept.set(roomId, { route, until: this.clock.monotonic() + limits.edge.routeMs, settled: false });
    // The oldest goes: a map keeps the order in which things came.
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= limits.edge.routesKept) break;
      this.#kept.delete(oldest);
    }
    return route;
  }
}

/** Nothing will ever run under this id again, or ever did. */
function isOver({ state }: EdgeRoute): boolean {
  return state === 'destroyed' || state === 'unknown';
}
