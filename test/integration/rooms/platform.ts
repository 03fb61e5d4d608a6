/** The control plane's rooms on a real database, in one or two processes' worth of objects, with a host that obeys at once. */
import { type Clock, newId, silentLog, systemClock } from '@alcove/base';
import { Audit } from '@alcove/audit';
import { type CopiedReport, type EnsureCopied, type EnsureRunning, type GoneReport, type HostState, Problem, type Principal, type RunningReport, type SealedReport } from '@alcove/contracts';
import { Db, Notices } from '@alcove/db';
import { FleetService, HostClient, type HostAddress, type IncarnationKey, PostgresHostsStore } from '@alcove/fleet';
import { Users } from '@alcove/identity';
import type { KeysService } from '@alcove/keys';
import { PostgresOutbox, PostgresSagaStore, SagaRunner } from '@alcove/jobs';
import { assembleRooms, type AssembledRooms, IdentityOwners, PostgresRoomsStore, roomChannel, type RoomSecrets } from '@alcove/rooms';
import { contractHost, simSecrets } from '@alcove/testing';
import { ownDatabase, type OwnDatabase } from '../db/database';

/** Runs nothing: an incarnation is an entry in a map. */
export class ObedientHost extends HostClient {
  readonly running = new Set<string>();
  readonly calls: string[] = [];
  /** What it was told to start and to copy, in order. */
  readonly orders: (EnsureRunning | EnsureCopied)[] = [];
  readonly #pauses = new Map<string, { reach: () => void; gone: Promise<void> }>();
  /** Set to make the next calls of a verb fail. */
  readonly failures = new Map<string, Problem>();
  #sequence = 0;

  override ensureRunning: HostClient['ensureRunning'] = async (_host, room, order) => {
    const report = this.#report('running', room);
    this.orders.push(order);
    this.running.add(nameOf(room));
    const resumedFrom = order.image ? 'memory' : order.hasDisk ? 'disk' : 'new';
    return { ...report, resumedFrom, fallbacks: [], isolation: 'software', accelerator: 'none', bootAttempts: 1, durationMs: 1, steps: {} } satisfies RunningReport;
  };
  override ensureSealed: HostClient['ensureSealed'] = async (_host, room, order) => {
    const report = this.#report('sealed', room);
    if (!this.running.delete(nameOf(room))) throw new Problem('room.not_running');
    const image = { id: newId('img'), ...room, generation: order.generation, templateId: 't', compatibility: 'c', diskState: 'd', bytes: 5, pages: 1, sha256: 'a'.repeat(64) };
    return { ...report, image, stallMs: 1, durableMs: 1, steps: {} } satisfies SealedReport;
  };
  override ensureCopied: HostClient['ensureCopied'] = async (_host, room, order) => {
    this.orders.push(order);
    await this.#paused('copied');
    const { roomId, incarnation, sequence } = this.#report('copied', room);
    const image = { ...order.source.image, id: newId('img'), roomId, incarnation, generation: order.generation };
    return { roomId, incarnation, sequence, image, durationMs: 1 } satisfies CopiedReport;
  };
  override ensureGone: HostClient['ensureGone'] = async (_host, room) => {
    const report = this.#report('gone', room);
    return { ...report, wasRunning: this.running.delete(nameOf(room)) } satisfies GoneReport;
  };
  override state: HostClient['state'] = async () => {
    const incarnations = [...this.running].map((name) => {
      const [roomId = '', n] = name.split('/');
      return { roomId, incarnation: Number(n), phase: 'running' as const, sequence: 1 };
    });
    const { description, capacity } = contractHost('host-a');
    return { hostId: 'host-a', bootId: 'b', fenced: false, description, capacity, incarnations } satisfies HostState;
  };
  override stream: HostClient['stream'] = async () => {
    throw new Problem('guest.closed');
  };
  override async close(): Promise<void> {}

  /** What a beat says of it. */
  beatOf(): { roomId: string; incarnation: number; phase: 'running'; sequence: number }[] {
    return [...this.running].map((name) => ({ roomId: name.split('/')[0] as string, incarnation: Number(name.split('/')[1]), phase: 'running', sequence: 1 }));
  }

  /** The next call of the verb stops in the middle. */
  pause(verb: string): { reached: Promise<void>; go: () => void } {
    const [reached, gone] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    this.#pauses.set(verb, { reach: reached.resolve, gone: gone.promise });
    return { reached: reached.promise, go: gone.resolve };
  }

  async #paused(verb: string): Promise<void> {
    const pause = this.#pauses.get(verb);
    this.#pauses.delete(verb);
    pause?.reach();
    await pause?.gone;
  }

  #report(verb: string, room: IncarnationKey): { roomId: string; incarnation: number; sequence: number } {
    this.calls.push(`${verb} ${nameOf(room)}`);
    const failure = this.failures.get(verb);
    if (failure) throw failure;
    return { ...room, sequence: ++this.#sequence };
  }
}

function nameOf({ roomId, incarnation }: IncarnationKey): string {
  return `${roomId}/${incarnation}`;
}

export interface Process {
  readonly rooms: AssembledRooms;
  readonly fleet: FleetService;
  readonly runner: SagaRunner;
}

export interface Platform {
  readonly db: Db;
  readonly store: PostgresRoomsStore;
  readonly host: ObedientHost;
  /** Tenants whose key provider refuses its key. */
  readonly revoked: Set<string>;
  /** Users whose keys were destroyed. */
  readonly keysDestroyed: ReadonlySet<string>;
  /** Another process on the same database and host. */
  newProcess(clock?: Clock): Process;
  newTenant(roomsPerUser?: number): Promise<Principal>;
  close(): Promise<void>;
}

export async function startPlatform(): Promise<Platform> {
  const database: OwnDatabase = await ownDatabase();
  const db = new Db({ url: database.url });
  const host = new ObedientHost();
  const keysDestroyed = new Set<string>();
  const revoked = new Set<string>();
  const secrets: RoomSecrets = { ...simSecrets, revoked: async () => [...revoked] };
  const listeners: Notices[] = [];
  const newProcess = (clock: Clock = systemClock): Process => {
    const audit = new Audit(clock);
    const outbox = new PostgresOutbox(db, clock, silentLog);
    const sagas = new PostgresSagaStore(db, outbox, clock);
    const runner = new SagaRunner(sagas, { clock, log: silentLog });
    const fleet = new FleetService(new PostgresHostsStore(db), { clock, log: silentLog });
    const users = new Users({ clock });
    // An erasure of which there is nothing but its order: keys first, and the user is gone once no room is left.
    const owners = new IdentityOwners(db, users, {
      begin: async (_tx, { userId }) => ({ id: 'erase_00000000000000000000', go: () => void keysDestroyed.add(userId) }),
      get: () => Promise.reject(new Problem('erasure.not_found')),
      mayRemove: async () => true,
      proceed: async ({ tenantId, userId }) => (await db.withTenantSql(tenantId, (tx) => users.markDestroyed(tx, tenantId, userId)), true),
    });
    const store = new PostgresRoomsStore(db);
    const rooms = assembleRooms({ store, runner, outbox, audit, owners, secrets, inTransaction: (tenantId, work) => db.withTenantSql(tenantId, work), fleet, hosts: host, clock, log: silentLog });
    const notices = new Notices(database.url, clock);
    notices.listen(roomChannel, { onNotice: (payload) => rooms.watchers.heard(payload), onGap: () => rooms.watchers.mayHaveMissed() });
    listeners.push(notices);
    return { rooms, fleet, runner };
  };
  const newTenant = async (roomsPerUser = 100): Promise<Principal> => {
    const tenantId = crypto.randomUUID();
    await db.asSystem('test', (tx) => tx.tenant.create({ data: { id: tenantId, name: tenantId, roomsPerUser, createdAt: new Date(0) } }));
    return { kind: 'system', keyId: 'test', tenantId, scopes: [], ratePerSecond: 1, concurrent: 1 };
  };
  const close = async (): Promise<void> => {
    await Promise.all(listeners.map((notices) => notices.close()));
    await db.close();
    await database.remove();
  };
  return { db, store: new PostgresRoomsStore(db), host, revoked, keysDestroyed, newProcess, newTenant, close };
}

/** The beat of the one host, with its template called `default`. */
export function hostBeat(sequence: number): Parameters<FleetService['heartbeat']>[1] {
  const { description, capacity } = contractHost('host-a', {});
  const templates = description.templates.map((template) => ({ ...template, name: 'default' }));
  return { bootId: 'b', sequence, description: { ...description, templates }, capacity: { ...capacity, roomsMax: 1000, memoryMiBFree: 65_536, diskMiBFree: 65_536 }, incarnations: [], ended: [] };
}

export const address: HostAddress = { id: 'host-a', url: 'https://127.0.0.1:1' };

interface TwoProcesses {
  platform: Platform;
  one: Process;
  two: Process;
  me: Principal;
  /** What host-a or another one says next: the number in it is the highest so far. */
  nextBeat(): ReturnType<typeof hostBeat>;
}

/** Two processes of one platform, and a tenant of its own for every test, which hears of both before it begins. */
export function withTwoProcesses(use: (found: TwoProcesses) => void): void {
  let platform: Platform;
  let one: Process;
  let two: Process;
  let beats = 0;
  beforeAll(async () => {
    platform = await startPlatform();
    one = platform.newProcess();
    two = platform.newProcess();
  });
  beforeEach(async () => {
    platform.host.failures.clear();
    platform.host.orders.length = 0;
    const nextBeat = () => hostBeat(++beats);
    await one.fleet.heartbeat('host-a', { ...nextBeat(), incarnations: platform.host.beatOf() });
    use({ platform, one, two, me: await platform.newTenant(), nextBeat });
  });
  afterAll(() => platform.close());
}
