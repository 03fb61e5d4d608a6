import type { Clock } from '@alcove/base';
import { ForkRoom, isProblem, ListSnapshots, Problem, problemCodes, type CreateSnapshot, type Principal, type ProblemCode, type Room, type Snapshot, type SnapshotPage } from '@alcove/contracts';
import type { FleetService } from '@alcove/fleet';
import { actorOf, requireScope, tenantOf } from '@alcove/identity';
import type { z } from 'zod';
import { askedReason } from './lifecycle/change';
import { isMoving } from './lifecycle/lifecycle';
import { toRoom, type RoomRecord } from './room';
import type { RoomActs } from './room-acts';
import type { RoomBirths } from './room-births';
import { decodeRoomCursor, encodeRoomCursor } from './room-cursor';
import type { RoomMover } from './room-mover';
import { judgeAwake, type RoomWaiter } from './room-waiter';
import type { RoomsStore } from './rooms.store';
import { frozenId, toSnapshot } from './snapshot';

export interface CopyParts<Scope> {
  readonly store: RoomsStore<Scope>;
  readonly mover: Pick<RoomMover<Scope>, 'apply'>;
  readonly fleet: FleetService;
  readonly waiter: RoomWaiter<Scope>;
  readonly clock: Clock;
  readonly births: RoomBirths<Scope>;
  readonly acts: RoomActs<Scope>;
}

const notCloneSafe = 'This template is not known to be safe to copy: what its programs hold in memory (random seeds, sessions, leases) is the same in every copy.';

/** A fork that runs, with what its maker ought to know, or why there is none. */
export type ForkOutcome = { readonly room: Room; readonly warnings: readonly string[] } | { readonly problem: Problem };

/** Snapshots and forks. All copies are of one user's rooms and stay that user's. */
export class RoomCopies<Scope> {
  constructor(private readonly parts: CopyParts<Scope>) {}

  async snapshot(principal: Principal, roomId: string, { name }: CreateSnapshot, signal: AbortSignal | undefined): Promise<Snapshot> {
    requireScope(principal, 'rooms:write');
    const { room: source } = await this.parts.acts.find(principal, roomId);
    const { lifecycle, network, metadata } = source;
    const made = await this.parts.births.copy(principal, source, { kind: 'snapshot', lifecycle, network, metadata, snapshotName: name ?? null });
    const frozen = await this.#awaited(made, judgeFrozen, signal);
    await this.#sourceIsBack(source, [made.id], signal);
    return this.#shown(frozen);
  }

  async snapshots(principal: Principal, input: z.input<typeof ListSnapshots>): Promise<SnapshotPage> {
    requireScope(principal, 'rooms:read');
    const { roomId, userId, name, cursor, limit } = ListSnapshots.parse(input);
    const filter = { ...(userId !== undefined && { userId }), ...(roomId !== undefined && { originId: roomId }), ...(name !== undefined && { snapshotName: name }), ...(cursor !== undefined && { after: decodeRoomCursor(cursor) }) };
    const rows = await this.parts.store.list(tenantOf(principal), { ...filter, kinds: ['snapshot'], states: ['hibernated'], newestFirst: true, limit: limit + 1 });
    const shown = rows.slice(0, limit);
    const last = shown.at(-1);
    return { snapshots: await Promise.all(shown.map((row) => this.#shown(row))), nextCursor: rows.length > limit && last ? encodeRoomCursor(last) : null };
  }

  async get(principal: Principal, snapshotId: string): Promise<Snapshot> {
    requireScope(principal, 'rooms:read');
    return this.#shown(await this.#find(principal, snapshotId));
  }

  async remove(principal: Principal, snapshotId: string): Promise<void> {
    requireScope(principal, 'rooms:write');
    const { id, tenantId } = await this.#find(principal, snapshotId);
    await this.parts.mover.apply({ tenantId, roomId: id }, { kind: 'destroy', reason: askedReason }, { actor: actorOf(principal) });
  }

  async fork(principal: Principal, roomId: string, input: ForkRoom, signal: AbortSignal | undefined): Promise<ForkOutcome[]> {
    requireScope(principal, 'rooms:write');
    const { count, timeoutMs } = ForkRoom.parse(input);
    const { room: source } = await this.parts.acts.find(principal, roomId);
    const { network, metadata } = source;
    const lifecycle = { ...source.lifecycle, ...(timeoutMs !== undefined && { timeoutMs }) };
    const kind = source.kind === 'room' && timeoutMs === undefined ? 'room' : 'sandbox';
    const made: (RoomRecord | Problem)[] = [];
    // One after the other: each is counted against the user's limit.
    for (let i = 0; i < count; i++) made.push(await this.parts.births.copy(principal, source, { kind, lifecycle, network, metadata, snapshotName: null }).catch(asProblem));
    const born = made.filter((one): one is RoomRecord => !isProblem(one));
    const forks = await Promise.all(made.map((one) => (isProblem(one) ? { problem: one } : this.#forked(one, signal)))).catch(async (error: unknown) => {
      // The caller left: it knows none of their names, and nobody else ever will.
      await Promise.all(born.map((one) => this.#destroy(one, 'caller_left')));
      throw error;
    });
    await this.#sourceIsBack(source, born.map(({ id }) => id), signal);
    const warnings = await this.#warnings(source);
    return forks.map((fork) => ('room' in fork ? { ...fork, warnings } : fork));
  }

  async #forked(made: RoomRecord, signal: AbortSignal | undefined): Promise<{ room: Room } | { problem: Problem }> {
    try {
      return { room: toRoom(await this.#awaited(made, judgeForked, signal)) };
    } catch (error) {
      signal?.throwIfAborted();
      return { problem: asProblem(error) };
    }
  }

  /** Waits for a copy. One that does not come is not left to turn up later, when nobody knows of it. */
  async #awaited(made: RoomRecord, judge: (room: RoomRecord) => RoomRecord | undefined, signal: AbortSignal | undefined): Promise<RoomRecord> {
    const key = { tenantId: made.tenantId, roomId: made.id };
    try {
      return await this.parts.waiter.until(key, made, { judge, joins: false, onTimeout: 'room.wake_timeout', signal });
    } catch (error) {
      if (!signal?.aborted) await this.#destroy(made, 'copy_failed');
      throw error;
    }
  }

  /** As far as it can be done now; what is left of a copy that failed, the reconcilers find. */
  async #destroy({ tenantId, id }: RoomRecord, reason: string): Promise<void> {
    await this.parts.mover.apply({ tenantId, roomId: id }, { kind: 'destroy', reason }, { actor: 'system' }).catch(() => undefined);
  }

  /** Whoever copies a room that runs goes on with it: it runs again, as far as it can be waited for. */
  async #sourceIsBack(source: RoomRecord, copies: readonly string[], signal: AbortSignal | undefined): Promise<void> {
    const judge = judgeBack(copies);
    await this.parts.waiter.until({ tenantId: source.tenantId, roomId: source.id }, source, { judge, joins: true, onTimeout: 'room.busy', signal }).catch((error: unknown) => {
      if (!isProblem(error)) throw error;
    });
  }

  async #find(principal: Principal, snapshotId: string): Promise<RoomRecord> {
    const room = (await this.parts.store.find(tenantOf(principal), frozenId(snapshotId)))?.room;
    if (room?.kind !== 'snapshot' || room.state !== 'hibernated' || room.wanted === 'gone') throw new Problem('snapshot.not_found');
    return room;
  }

  async #shown(frozen: RoomRecord): Promise<Snapshot> {
    return toSnapshot(frozen, await this.#warnings(frozen));
  }

  async #warnings({ templateId }: RoomRecord): Promise<string[]> {
    return (await this.parts.fleet.isCloneSafe(templateId)) ? [] : [notCloneSafe];
  }
}

function judgeFrozen(room: RoomRecord): RoomRecord | undefined {
  if (room.wanted === 'gone') throw copyProblem(room);
  return room.state === 'hibernated' ? room : undefined;
}

/** A copy that shall run: as judgeAwake, and why it was not made. */
export function judgeForked(room: RoomRecord): RoomRecord | undefined {
  if (room.wanted === 'gone') throw copyProblem(room);
  return judgeAwake(room);
}

/** Nobody copies it any more, and it has come to the rest that is wished for. */
function judgeBack(copies: readonly string[]): (room: RoomRecord) => true | undefined {
  return (room) => {
    if (room.state === 'destroyed' || room.wanted === 'gone') return true;
    if (room.holders.some((id) => copies.includes(id))) return undefined;
    return room.state === 'running' || !(isMoving(room.state) || room.wakePending) ? true : undefined;
  };
}

/** Codes of a failed copy that say to the caller what to do. */
const plainCodes: ReadonlySet<string> = new Set<ProblemCode>([
  'host.capacity', 'host.unavailable', 'host.disk_full', 'host.fenced', 'engine.missing', 'vault.key_unavailable', 'room.gone', 'room.busy', 'room.not_copied', 'unsupported',
]);

function copyProblem({ ending, failure }: RoomRecord): Problem {
  const code = ending?.reason ?? 'internal';
  if (code === askedReason) return new Problem('room.gone');
  if (plainCodes.has(code) && code in problemCodes) return new Problem(code as ProblemCode, failure?.detail ? { detail: failure.detail } : {});
  return new Problem('room.not_copied', { detail: `The room could not be copied (${code}).` });
}

function asProblem(error: unknown): Problem {
  return isProblem(error) ? error : new Problem('internal', { cause: error });
}
