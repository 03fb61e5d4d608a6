import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/** Seconds: from an answer out of memory to an agent that thinks for minutes. */
const buckets = [0.005, 0.02, 0.06, 0.2, 0.5, 1, 2, 5, 15, 60, 300, 900];

/** The figures of this process, for Prometheus. Routes are named as in the table, so that no id becomes a label. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #requests = new Histogram({ name: 'alcove_http_request_seconds', help: 'How long requests took, streams until their end', labelNames: ['route', 'status'], buckets, registers: [this.#registry] });
  readonly #wakes = new Histogram({ name: 'alcove_wake_seconds', help: 'How long a request waited for its room to wake', labelNames: ['resumed_from'], buckets, registers: [this.#registry] });
  readonly #retries = new Counter({ name: 'alcove_room_lost_total', help: 'Calls that found their room lost and were made once more', labelNames: ['code'], registers: [this.#registry] });
  readonly #heartbeats = new Counter({ name: 'alcove_heartbeats_total', help: 'Heartbeats of hosts', labelNames: ['outcome'], registers: [this.#registry] });

  readonly #doorCalls = new Counter({ name: 'alcove_room_door_calls_total', help: 'Calls of programs in rooms through their doors', labelNames: ['route', 'status'], registers: [this.#registry] });

  /** openCalls: how many calls are under way now. */
  constructor(openCalls: () => number) {
    new Gauge({
      name: 'alcove_http_requests_open',
      help: 'Requests under way, streams included',
      registers: [this.#registry],
      collect() {
        this.set(openCalls());
      },
    });
  }

  /** Adds the figures of the process itself: memory, event loop, collections of garbage. */
  watchProcess(): void {
    collectDefaultMetrics({ register: this.#registry });
  }

  answered(route: string, status: number, ms: number): void {
    this.#requests.observe({ route, status: String(status) }, ms / 1000);
  }

  woke(resumedFrom: string, ms: number): void {
    this.#wakes.observe({ resumed_from: resumedFrom }, ms / 1000);
  }

  roomLost(code: string): void {
    this.#retries.inc({ code });
  }

  heartbeat(outcome: 'ok' | 'refused'): void {
    this.#heartbeats.inc({ outcome });
  }

  /** `route`: of the table of doors, or `unknown`. */
  doorCall(route: string, status: number): void {
    this.#doorCalls.inc({ route, status: String(status) });
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }
}
