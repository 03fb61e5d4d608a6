import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/** What this host tells Prometheus. One registry per agent, so that several can live in one test process. */
export class HostMetrics {
  readonly registry = new Registry();
  readonly #requests = new Histogram({ name: 'alcove_host_request_seconds', help: 'Requests to the host agent', labelNames: ['route', 'status'], buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60], registers: [this.registry] });
  readonly #beats = new Counter({ name: 'alcove_host_beats_total', help: 'Heartbeats by outcome', labelNames: ['outcome'], registers: [this.registry] });
  readonly #fences = new Counter({ name: 'alcove_host_fences_total', help: 'Times the lease was lost', registers: [this.registry] });

  constructor(read: { rooms: () => number; streams: () => number; fenced: () => boolean; journalRooms: () => number }) {
    const gauge = (name: string, help: string, value: () => number) =>
      new Gauge({ name, help, registers: [this.registry], collect() { this.set(value()); } });
    gauge('alcove_host_rooms', 'Rooms with a VM on this host', read.rooms);
    gauge('alcove_host_streams', 'Requests into rooms that are open', read.streams);
    gauge('alcove_host_fenced', '1 while this host has no lease', () => Number(read.fenced()));
    gauge('alcove_host_journal_rooms', 'Rooms that the journal knows', read.journalRooms);
  }
  /** Adds what Node.js knows of this process. */
  withProcess(): void {
    collectDefaultMetrics({ register: this.registry });
  }
  /** An answered request; duration in milliseconds. */
  request(route: string, status: number, ms: number): void {
    this.#requests.observe({ route, status: String(status) }, ms / 1000);
  }
  beat(outcome: 'answered' | 'failed'): void {
    this.#beats.inc({ outcome });
  }
  fence(): void {
    this.#fences.inc();
  }
}
