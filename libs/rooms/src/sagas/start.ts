import { isProblem, Problem, type RunningReport } from '@alcove/contracts';
import type { Saga, SagaStep, SettledContext } from '@alcove/jobs';
import type { RoomRecord } from '../room';
import type { MoveParams } from './move';
import { endIncarnation, hostIdOf, operationId, type MoveContext, type SagaParts } from './saga-parts';

/**
 * Bringing a room up, for the first time (provision) or again (resume), in one step:
 *
 *   start   do: fence every older incarnation, ensureRunning on the chosen host, `up` into the row     undo: ensureGone of this incarnation; disk and images stay
 *
 * One step, because each part is safe to repeat and a step costs a wake one more transaction. Fencing must be true at the moment of the order, also on a retry;
 * an `up` that comes after the move was given up is refused, and what was started is ended. What is not closed: an order that the network holds back for longer
 * than the host's lease and margin and then delivers.
 */
export function startSteps<Scope>(parts: SagaParts<Scope>): Saga<MoveParams>['steps'] {
  const start: SagaStep<MoveParams> = {
    name: 'start',
    do: async (context) => {
      // An order for a move that was given up, whose host was perhaps written off as lost, would start a VM beside the next one.
      const stands = context.attempt === 1 ? 'under_way' : await standingOf(parts, context);
      if (stands === 'up') return;
      if (stands === 'over') throw new Problem('incarnation.stale', { detail: 'the move was given up' });
      for (const older of context.params.older) await endIncarnation(parts, context, older, 'superseded');
      await recordUp(parts, context, await ensureRunning(parts, context));
    },
    undo: (context) => endStarted(parts, context),
  };
  return [start];
}

/**
 * Where the room stands to this move: still in it; `up`, because it was recorded before a crash or by the host's beat; or `over`, because it was given up. Pure.
 */
export function standing(room: RoomRecord | undefined, { move, incarnation }: MoveParams): 'under_way' | 'up' | 'over' {
  if (room?.move === move) return 'under_way';
  return room?.incarnation === incarnation && room.state !== 'failed' ? 'up' : 'over';
}

async function standingOf<Scope>(parts: SagaParts<Scope>, { params, tenantId }: MoveContext): Promise<ReturnType<typeof standing>> {
  return standing((await parts.store.find(tenantId, params.roomId))?.room, params);
}

async function ensureRunning<Scope>(parts: SagaParts<Scope>, context: MoveContext): Promise<RunningReport> {
  const { params, tenantId } = context;
  const { roomId, userId, incarnation, envSealed } = params;
  const [host, keys, env] = await Promise.all([
    parts.fleet.host(hostIdOf(params)),
    parts.secrets.roomKeys(tenantId, userId, roomId),
    envSealed === null ? {} : parts.secrets.openEnv(tenantId, userId, roomId, envSealed),
  ]);
  const { templateId, size, image, previous, hasDisk, newIdentity } = params;
  const order = { operationId: operationId(context, 'running'), templateId, size, image, previous, hasDisk, keys, env, newIdentity };
  const report = await parts.hosts.ensureRunning({ id: host.id, url: host.description.url }, { roomId, incarnation }, order);
  if (report.roomId !== roomId || report.incarnation !== incarnation) throw new Problem('incarnation.stale', { detail: 'the host answered for another incarnation' });
  return report;
}

/** What the row counts on by now is not ended. Should the host be out of reach, the row stays open: the next start fences it, the host's own beat or the orphans' reconciler closes it. */
async function endStarted<Scope>(parts: SagaParts<Scope>, context: MoveContext): Promise<void> {
  const { params } = context;
  const where = { incarnation: params.incarnation, hostId: hostIdOf(params) };
  if ((await standingOf(parts, context)) === 'up') return;
  try {
    await endIncarnation(parts, context, where, 'start_failed');
  } catch (error) {
    if (!isProblem(error, 'host.unavailable')) throw error;
    context.log.warn({ err: error, ...where }, 'the host of a failed start cannot be reached; its incarnation stays open');
  }
}

async function recordUp<Scope>(parts: SagaParts<Scope>, context: MoveContext, report: RunningReport): Promise<void> {
  const { params, tenantId } = context;
  const host = await parts.fleet.host(hostIdOf(params));
  const detail = { hostMs: Math.round(report.durationMs), bootAttempts: report.bootAttempts, accelerator: report.accelerator };
  const start = { resumedFrom: report.resumedFrom, isolation: report.isolation, fallbacks: report.fallbacks, detail };
  const { incarnation, move } = params;
  const applied = await parts.mover.apply(
    { tenantId, roomId: params.roomId },
    { kind: 'up', incarnation, move, reason: 'started', start },
    { actor: `host:${host.id}`, sequence: report.sequence },
  );
  if (applied.verdict.kind === 'move') return;
  // Said before by this very step, or by the host's beat.
  const runs = applied.room?.incarnation === incarnation && (applied.room.state === 'running' || applied.room.state === 'hibernating');
  if (!runs) throw new Problem('incarnation.stale', { detail: 'the move was given up before the room was up' });
}

/** The end of every move that was undone: the room fails, if it is still in this move, and can be woken or destroyed. */
export async function settleFailed<Scope>(parts: SagaParts<Scope>, context: SettledContext<MoveParams>): Promise<void> {
  if (context.end === 'done') return;
  const { roomId, incarnation, move } = context.params;
  const { code, detail } = context.error ?? { code: 'internal' as const, detail: null };
  await parts.mover.apply({ tenantId: context.tenantId, roomId }, { kind: 'moveFailed', incarnation, move, code, detail }, { actor: 'system' });
}

