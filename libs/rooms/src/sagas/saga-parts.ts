import { isProblem, Problem } from '@alcove/contracts';
import type { StepContext } from '@alcove/jobs';
import type { FleetService, HostClient } from '@alcove/fleet';
import type { RoomMover } from '../room-mover';
import type { RoomWaiter } from '../room-waiter';
import type { RoomSecrets } from '../ports';
import type { RoomsStore } from '../rooms.store';
import type { MoveParams } from './move';

/** What the steps of every saga work with. */
export interface SagaParts<Scope> {
  readonly mover: Pick<RoomMover<Scope>, 'apply' | 'edit'>;
  readonly store: RoomsStore<Scope>;
  readonly fleet: FleetService;
  readonly hosts: HostClient;
  readonly secrets: RoomSecrets;
  readonly waiter: Pick<RoomWaiter<Scope>, 'until'>;
}

export type MoveContext = StepContext<MoveParams>;

/** Names one try of one move, so that a host can tell a retry from a second wish. */
export function operationId(context: MoveContext, verb: string): string {
  return `${context.params.roomId}.${context.params.move}.${verb}`;
}

/** Ends one incarnation on its host and closes its row. A host that is lost has ended it already. Throws when the host cannot be reached or refuses. */
export async function endIncarnation<Scope>(parts: SagaParts<Scope>, context: MoveContext, where: { incarnation: number; hostId: string }, reason: string): Promise<void> {
  const { tenantId, params, clock } = context;
  const key = { tenantId, roomId: params.roomId };
  if (await parts.fleet.isLost(where.hostId)) {
    await parts.store.report(key, { incarnation: where.incarnation, phase: 'gone', sequence: null, reason: 'host_lost' }, clock.now());
    return;
  }
  const sequence = await ensureGone(parts, context, where, reason, false);
  await parts.store.report(key, { incarnation: where.incarnation, phase: 'gone', sequence, reason }, clock.now());
}

/** Resolves with the report's sequence; null when the host knows a newer incarnation of the room, and so has ended this one. */
export async function ensureGone<Scope>(parts: SagaParts<Scope>, context: MoveContext, where: { incarnation: number; hostId: string }, reason: string, discard: boolean): Promise<number | null> {
  const { roomId } = context.params;
  const host = await parts.fleet.host(where.hostId);
  const order = { operationId: operationId(context, 'gone'), reason, discard };
  try {
    const report = await parts.hosts.ensureGone({ id: host.id, url: host.description.url }, { roomId, incarnation: where.incarnation }, order);
    return report.sequence;
  } catch (error) {
    if (isProblem(error, 'incarnation.stale') && !discard) return null;
    throw error;
  }
}

/** A move that works on a live incarnation always has a host. */
export function hostIdOf(params: MoveParams): string {
  if (params.hostId === null) throw new Problem('internal', { detail: 'a move without a host' });
  return params.hostId;
}
