import { limits } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import { defineSaga, type Saga, type SagaStep } from '@alcove/jobs';
import { MoveParams } from './move';
import { endIncarnation, ensureGone, type MoveContext, type SagaParts } from './saga-parts';
import { settleFailed } from './start';

/**
 * Removing a room:
 *
 *   end      do: end every incarnation that may live
 *   discard  do: remove disk and images on a host that sees them
 *   record   do: `discarded` into the row
 *
 * Nothing is undone: what is removed is removed, and a destroy that failed is tried again until it is done. The user's keys stay: they are the user's.
 */
export function destroySaga<Scope>(parts: SagaParts<Scope>): Saga<MoveParams> {
  const end: SagaStep<MoveParams> = { name: 'end', do: (context) => endAll(parts, context) };
  const discard: SagaStep<MoveParams> = { name: 'discard', do: (context) => discardData(parts, context) };
  const record: SagaStep<MoveParams> = { name: 'record', do: (context) => recordDiscarded(parts, context) };
  return defineSaga({
    name: 'room.destroy',
    params: MoveParams,
    deadlineMs: limits.move.destroyMs,
    steps: [end, discard, record],
    settled: (context) => settleFailed(parts, context),
  });
}

async function endAll<Scope>(parts: SagaParts<Scope>, context: MoveContext): Promise<void> {
  const found = await parts.store.find(context.tenantId, context.params.roomId);
  for (const { incarnation, hostId } of found?.open ?? []) await endIncarnation(parts, context, { incarnation, hostId }, 'destroyed');
}

/** The host that ran it last, if it is up; else any that sees the disk. Also for a room that never ran: it may have left half a disk. */
async function discardData<Scope>(parts: SagaParts<Scope>, context: MoveContext): Promise<void> {
  const { incarnation, hostId, storeGroup } = context.params;
  const lastHostId = hostId !== null && !(await parts.fleet.isLost(hostId)) ? hostId : null;
  if (storeGroup === null) return;
  const target = lastHostId ?? (await parts.fleet.anyOf(storeGroup)).id;
  await ensureGone(parts, context, { incarnation: Math.max(1, incarnation), hostId: target }, 'destroyed', true);
}

async function recordDiscarded<Scope>(parts: SagaParts<Scope>, context: MoveContext): Promise<void> {
  const { roomId, incarnation, move } = context.params;
  const applied = await parts.mover.apply({ tenantId: context.tenantId, roomId }, { kind: 'discarded', incarnation, move }, { actor: 'system' });
  if (applied.room?.state !== 'destroyed') throw new Problem('incarnation.stale', { detail: 'the move was given up before everything was removed' });
}
