import { assert, type Clock, limits, type Log } from '@alcove/base';
import { type Heartbeat, type HeartbeatAnswer, Problem } from '@alcove/contracts';
import { engineOf, storeGroupOf, templatesOf, type HostRecord, type TemplateRecord } from './host';
import type { HostsStore } from './hosts.store';
import { LeaseWatch } from './lease-watch';
import { absentState, compareSets, type IncarnationLedger, keyOf } from './ledger';
import { place, type Candidate, type Need } from './placement/place';

const templateId = /^tpl_[0-9a-f]{20}$/;

export interface FleetOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** How old the hosts that placement sees may be, milliseconds. The host itself has the last word. Default 500. */
  readonly snapshotMs?: number;
}

/** A view of the hosts that is older than this is waited for, milliseconds. */
const usableMs = 5_000;

interface Snapshot {
  readonly hosts: readonly HostRecord[];
  readonly takenAt: number;
  /** Rooms sent to each host since. */
  readonly sent: Map<string, number>;
}

/** The hosts: takes their heartbeats, grants their leases, chooses among them. */
export class FleetService {
  readonly #store: HostsStore;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #snapshotMs: number;
  readonly #watch: LeaseWatch;
  /** Per host, the incarnations that its last beat should have named and did not. */
  readonly #missing = new Map<string, ReadonlySet<string>>();
  #ledger: IncarnationLedger | null = null;
  #snapshot: Snapshot | null = null;
  #looking: Promise<Snapshot> | null = null;

  constructor(store: HostsStore, options: FleetOptions) {
    this.#store = store;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#snapshotMs = options.snapshotMs ?? 500;
    this.#watch = new LeaseWatch(options.clock);
  }

  /** Whose rows heartbeats are compared with. Called once, when the process is put together. */
  follow(ledger: IncarnationLedger): void {
    assert(this.#ledger === null, 'two ledgers');
    this.#ledger = ledger;
  }

  /**
   * Takes a beat and grants the lease. A host that was lost is first rid of everything it ran, then taken back. Throws the database's failures: a host whose
   * beat could not be written down gets no lease.
   */
  async heartbeat(hostId: string, beat: Heartbeat): Promise<HeartbeatAnswer> {
    const ledger = this.#ledger;
    assert(ledger, 'no ledger');
    const { description, capacity, bootId, sequence } = beat;
    const host: HostRecord = { id: hostId, description, capacity, bootId, sequence, beats: 0, beatAt: this.#clock.now(), lost: false };
    let taken = await this.#store.beat(host, false);
    if (taken === 'lost') {
      const closed = await ledger.hostLost(hostId);
      this.#log.warn({ hostId, closed }, 'a lost host is back');
      taken = await this.#store.beat(host, true);
    }
    // A beat that was overtaken by a later one says nothing new; what ended by it was not taken, so it is not acknowledged.
    if (taken === 'overtaken') return { leaseMs: limits.host.leaseMs, acknowledged: -1, end: [] };
    const rows = await ledger.openOn(hostId);
    const { end, missing } = compareSets(rows, beat.incarnations);
    const absent = this.#absentTwice(hostId, missing.filter((row) => !beat.ended.some((state) => keyOf(state) === keyOf(row))));
    // What runs as the rows say is most of every beat, and no news.
    const asExpected = new Set(rows.filter((row) => row.expected && !row.givenUp).map(keyOf));
    const news = beat.incarnations.filter((state) => state.phase !== 'running' || !asExpected.has(keyOf(state)));
    await ledger.report(host, [...beat.ended, ...news, ...absent]);
    await this.#hosts();
    return { leaseMs: limits.host.leaseMs, acknowledged: sequence, end };
  }

  /** Chooses a host that can take a room now. Throws the Problem `host.unavailable` or `host.capacity`. */
  async place(need: Need): Promise<HostRecord> {
    const snapshot = await this.#hosts();
    const placement = place(snapshot.hosts.filter((host) => !host.lost).map((host) => candidate(host, snapshot.sent.get(host.id) ?? 0)), need);
    if (placement.kind === 'problem') throw new Problem(placement.code, { detail: placement.why });
    snapshot.sent.set(placement.hostId, (snapshot.sent.get(placement.hostId) ?? 0) + 1);
    const host = snapshot.hosts.find(({ id }) => id === placement.hostId);
    assert(host, 'placement chose a host that is not in its snapshot');
    return host;
  }

  /** A host that is up and sees the store: any will do, but one that has the template is better. Throws `host.unavailable`. */
  async anyOf(storeGroup: string, templateId?: string): Promise<HostRecord> {
    const able = (await this.#hosts()).hosts.filter((one) => !one.lost && storeGroupOf(one) === storeGroup);
    const host = able.find(({ description }) => description.templates.some(({ id }) => id === templateId)) ?? able[0];
    if (!host) throw new Problem('host.unavailable', { detail: "no host that sees this room's disk is up" });
    return host;
  }

  /** A host by its id, lost or not. Throws `host.not_found`. */
  async host(hostId: string): Promise<HostRecord> {
    const host = (await this.#hosts()).hosts.find(({ id }) => id === hostId) ?? (await this.#store.find(hostId));
    if (!host) throw new Problem('host.not_found');
    return host;
  }

  /** True when the row says so now, not some time ago: what is decided by it cannot be taken back. */
  async isLost(hostId: string): Promise<boolean> {
    return (await this.#store.find(hostId))?.lost ?? true;
  }

  /** True when some host that is known has this template and says that copies of what runs from it do no harm. */
  async isCloneSafe(templateId: string): Promise<boolean> {
    return (await this.#hosts()).hosts.some(({ description }) => description.templates.some(({ id, cloneSafe }) => id === templateId && cloneSafe));
  }

  /** The newest template of this name, or the one of this id (`tpl_…`) that a host has. Throws `template.not_found`. */
  async template(name: string): Promise<TemplateRecord> {
    const template = templateId.test(name) ? (await this.templates()).find(({ id }) => id === name) : await this.#store.newestTemplate(name);
    if (!template) throw new Problem('template.not_found', { detail: `no host has brought a template named ${name}` });
    return template;
  }

  /** The templates that hosts have which are up, the newest first: what a new room can start from. */
  async templates(): Promise<TemplateRecord[]> {
    const { hosts } = await this.#hosts();
    const byId = new Map(hosts.filter(({ lost }) => !lost).flatMap(({ description }) => templatesOf(description)).map((template) => [template.id, template]));
    return [...byId.values()].sort((a, b) => b.builtAt - a.builtAt || (a.id < b.id ? -1 : 1));
  }

  /** Marks hosts that have been silent for lease + margin, as this process has seen it, and resolves with every lost host. For the reconciler. */
  async loseSilent(): Promise<HostRecord[]> {
    const hosts = await this.#store.all();
    for (const host of this.#watch.silent(hosts.filter(({ lost }) => !lost))) {
      if (!(await this.#store.markLost(host.id, host.beats))) continue;
      this.#snapshot = null;
      this.#log.warn({ hostId: host.id }, 'a host is lost: it has not beaten for longer than its lease');
    }
    return (await this.#store.all()).filter(({ lost }) => lost);
  }

  /** A call does not wait for a look at the table while the one before is not much too old: it is renewed behind its back, and at every beat. */
  async #hosts(): Promise<Snapshot> {
    const age = this.#snapshot ? this.#clock.monotonic() - this.#snapshot.takenAt : Number.POSITIVE_INFINITY;
    if (this.#snapshot && age < this.#snapshotMs) return this.#snapshot;
    this.#looking ??= this.#look().finally(() => (this.#looking = null));
    if (!this.#snapshot || age > usableMs) return this.#looking;
    this.#looking.catch((err: unknown) => this.#log.info({ err }, 'the hosts could not be looked at'));
    return this.#snapshot;
  }

  async #look(): Promise<Snapshot> {
    const now = this.#clock.monotonic();
    const before = this.#snapshot;
    const hosts = await this.#store.all();
    // What was sent counts until the host has beaten again and so told of it.
    const sent = new Map(hosts.map((host) => [host.id, before?.hosts.find(({ id }) => id === host.id)?.beats === host.beats ? (before.sent.get(host.id) ?? 0) : 0]));
    this.#snapshot = { hosts, takenAt: now, sent };
    return this.#snapshot;
  }

  /** A row that two beats in a row do not name is gone; the first may have been made before the row was. */
  #absentTwice(hostId: string, missing: readonly { roomId: string; incarnation: number }[]): ReturnType<typeof absentState>[] {
    const before = this.#missing.get(hostId) ?? new Set();
    this.#missing.set(hostId, new Set(missing.map(keyOf)));
    return missing.filter((row) => before.has(keyOf(row))).map(({ roomId, incarnation }) => absentState(roomId, incarnation));
  }
}

function candidate(host: HostRecord, roomsOnTheWay: number): Candidate {
  const { capacity, description } = host;
  return { id: host.id, storeGroup: storeGroupOf(host), engine: engineOf(host), templateIds: description.templates.map(({ id }) => id), roomsOnTheWay, ...capacity };
}
