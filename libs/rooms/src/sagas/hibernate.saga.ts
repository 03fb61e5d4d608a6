import { limits } from '@alcove/base';
import { isProblem, Problem, type SealedReport } from '@alcove/contracts';
import { defineSaga, type Saga, type SagaStep } from '@alcove/jobs';
import { engineOf, type HostRecord } from '@alcove/fleet';
import type { LifecycleEvent } from '../lifecycle/lifecycle';
import { MoveParams } from './move';
import { endIncarnation, hostIdOf, operationId, type MoveContext, type SagaParts } from './saga-parts';
import { settleFailed } from './start';

/**
 * Putting a room to sleep:
 *
 *   seal     do: ensureSealed, which resolves when the image is durable and verified; then the image into the row, if it is of this room, incarnation and move
 *            undo: ask the host what became of it, and say so to the row
 *   release  do: ensureGone; a host that cannot be reached is left to the reconcilers
 *            undo: nothing
 *
 * No step throws an image away.
 */
export function hibernateSaga<Scope>(parts: SagaParts<Scope>): Saga<MoveParams> {
  const seal: SagaStep<MoveParams> = {
    name: 'seal',
    do: async (context) => recordImage(parts, context, await ensureSealed(parts, context)),
    undo: (context) => sayWhatBecame(parts, context),
  };
  const release: SagaStep<MoveParams> = { name: 'release', do: (context) => releaseHost(parts, context) };
  return defineSaga({
    name: 'room.hibernate',
    params: MoveParams,
    deadlineMs: limits.move.hibernateMs,
    steps: [seal, release],
    settled: (context) => settleFailed(parts, context),
  });
}

async function ensureSealed<Scope>(parts: SagaParts<Scope>, context: MoveContext): Promise<SealedReport> {
  const { params, tenantId } = context;
  const { roomId, userId, incarnation, move } = params;
  const [host, keys] = await Promise.all([parts.fleet.host(hostIdOf(params)), parts.secrets.roomKeys(tenantId, userId, roomId)]);
  const order = { operationId: operationId(context, 'sealed'), generation: move, reason: 'hibernate', keys };
  try {
    return await parts.hosts.ensureSealed({ id: host.id, url: host.description.url }, { roomId, incarnation }, order);
  } catch (error) {
    // Waiting brings no VM back.
    throw isProblem(error, 'room.not_running') ? new Problem('incarnation.stale', { detail: 'the VM is gone', cause: error }) : error;
  }
}

/** Throws `image.stale` when the image is not one that this move may take over. */
async function recordImage<Scope>(parts: SagaParts<Scope>, context: MoveContext, report: SealedReport): Promise<void> {
  const { params, tenantId } = context;
  const host = await parts.fleet.host(hostIdOf(params));
  const { image, sequence } = report;
  const detail = { stallMs: Math.round(report.stallMs), durableMs: Math.round(report.durableMs) };
  const event: LifecycleEvent = { kind: 'sealed', incarnation: params.incarnation, image, engine: engineOf(host), detail };
  const applied = await parts.mover.apply({ tenantId, roomId: params.roomId }, event, { actor: `host:${host.id}`, sequence });
  if (applied.verdict.kind === 'move') return;
  // Said before by this very step, or by the host's beat; the room may even have moved on since.
  const kept = applied.room && (applied.room.image?.id === image.id || applied.room.previous?.id === image.id || applied.room.incarnation > params.incarnation);
  if (!kept) throw new Problem('image.stale', { detail: 'the image is not of this move' });
}

async function releaseHost<Scope>(parts: SagaParts<Scope>, context: MoveContext): Promise<void> {
  const { params, log } = context;
  const where = { incarnation: params.incarnation, hostId: hostIdOf(params) };
  await endIncarnation(parts, context, where, 'sealed').catch((err: unknown) => log.warn({ err, ...where }, 'a sealed incarnation could not be released; the reconcilers will'));
}

/**
 * After a failed seal the VM either goes on (nothing is lost), is sealed after all, or is gone. Only the host knows; it is asked until it answers or is lost.
 */
async function sayWhatBecame<Scope>(parts: SagaParts<Scope>, context: MoveContext): Promise<void> {
  const { params, tenantId } = context;
  const { roomId, incarnation, move } = params;
  const found = await parts.store.find(tenantId, roomId);
  if (found?.room.move !== move) return;
  const host = await parts.fleet.host(hostIdOf(params));
  const event = (await parts.fleet.isLost(host.id)) ? gone(incarnation, 'host_lost') : await askHost(parts, context, host);
  await parts.mover.apply({ tenantId, roomId }, event, { actor: `host:${host.id}` });
}

/** A host names what lives only: of an incarnation that does not, the same order asked again tells whether it was sealed. */
async function askHost<Scope>(parts: SagaParts<Scope>, context: MoveContext, host: HostRecord): Promise<LifecycleEvent> {
  const { roomId, incarnation, move } = context.params;
  const { incarnations } = await parts.hosts.state({ id: host.id, url: host.description.url });
  const state = incarnations.find((one) => one.roomId === roomId && one.incarnation === incarnation);
  if (state?.image) return { kind: 'sealed', incarnation, image: state.image, engine: engineOf(host), detail: {} };
  if (state?.phase === 'running') return { kind: 'up', incarnation, move, reason: 'seal_failed', start: null };
  if (state?.phase === 'sealing' || state?.phase === 'starting') throw new Problem('room.busy', { detail: `the host is ${state.phase}` });
  try {
    const report = await ensureSealed(parts, context);
    return { kind: 'sealed', incarnation, image: report.image, engine: engineOf(host), detail: {} };
  } catch (error) {
    if (isProblem(error, 'incarnation.stale')) return gone(incarnation, 'seal_failed');
    throw error;
  }
}

function gone(incarnation: number, reason: string): LifecycleEvent {
  return { kind: 'gone', incarnation, reason };
}
