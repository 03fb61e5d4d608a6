import { limits, type Clock } from '@alcove/base';
import type { EdgeRoute } from '@alcove/contracts';
import type { ControlPlane } from './control-plane';

/** An answer of the control plane. `fresh`: it was asked after the question came, so what it says is not older than the request. */
export interface Known {
  readonly route: EdgeRoute;
  readonly fresh: boolean;
}

/**
 * Routes of rooms, kept for a moment. Kept are those of rooms that run (a host that no longer has one says so) and of rooms that are gone for good; where a room sleeps or
 * moves may be another a moment later, by somebody's connect() for whom this request is the next. One question per room is on its way at a time.
 */
export class Routes {
  readonly #kept = new Map<string, { route: EdgeRoute; until: number }>();
  readonly #asking = new Map<string, Promise<EdgeRoute>>();
  readonly #waking = new Map<string, Promise<EdgeRoute>>();

  constructor(
    private readonly controlPlane: ControlPlane,
    private readonly clock: Clock,
  ) {}

  async find(roomId: string): Promise<Known> {
    const kept = this.#kept.get(roomId);
    if (kept && kept.until > this.clock.monotonic()) return { route: kept.route, fresh: isOver(kept.route) };
    const asked = this.#asking.get(roomId);
    return asked ? { route: await asked, fresh: false } : { route: await this.ask(roomId), fresh: true };
  }

  /** Asks now, whatever is kept or on its way. */
  ask(roomId: string): Promise<EdgeRoute> {
    const question = this.controlPlane.route(roomId).then((route) => this.#keep(roomId, route));
    this.#asking.set(roomId, question);
    const done = (): void => {
      if (this.#asking.get(roomId) === question) this.#asking.delete(roomId);
    };
    question.then(done, done);
    return question;
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

  forget(roomId: string): void {
    this.#kept.delete(roomId);
  }

  get size(): number {
    return this.#kept.size;
  }

  #keep(roomId: string, route: EdgeRoute): EdgeRoute {
    this.#kept.delete(roomId);
    if (route.target === null && !isOver(route)) return route;
    this.#kept.set(roomId, { route, until: this.clock.monotonic() + limits.edge.routeMs });
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
