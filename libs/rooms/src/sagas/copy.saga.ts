import { limits } from '@alcove/base';
import { ImageRef, isProblem, Problem } from '@alcove/contracts';
import { defineSaga, type Saga, type SagaStep } from '@alcove/jobs';
import { engineOf } from '@alcove/fleet';
import { z } from 'zod';
import type { LifecycleEvent } from '../lifecycle/lifecycle';
import { heldBy, judgeResting, releasedBy, type Resting } from './hold';
import { MoveParams } from './move';
import { endIncarnation, ensureGone, hostIdOf, operationId, type MoveContext, type SagaParts } from './saga-parts';
import { settleFailed, standing } from './start';

const RestOutput = z.strictObject({ image: ImageRef, bootNext: z.boolean() });

/**
 * Making a room as a copy of another one:
 *
 *   rest     do: the room that is copied is held, which puts it to sleep, and awaited     undo: let go of it
 *   copy     do: ensureCopied; then the new image into the row                            undo: remove what was copied
 *   release  do: let go of the room that was copied, which then wakes if it ran; close the incarnation that did the copying
 *
 * Held is written in the row of the room that is copied, so that it outlives any process; who holds it for nothing any more is struck off by a reconciler.
 */
export function copySaga<Scope>(parts: SagaParts<Scope>): Saga<MoveParams> {
  const rest: SagaStep<MoveParams> = { name: 'rest', do: (context) => rests(parts, context), undo: (context) => letGo(parts, context) };
  const copy: SagaStep<MoveParams> = { name: 'copy', do: (context) => copies(parts, context), undo: (context) => removeCopy(parts, context) };
  const release: SagaStep<MoveParams> = { name: 'release', do: (context) => release_(parts, context) };
  return defineSaga({
    name: 'room.copy',
    params: MoveParams,
    deadlineMs: limits.move.copyMs,
    steps: [rest, copy, release],
    settled: async (context) => {
      await letGo(parts, context);
      await settleFailed(parts, context);
    },
  });
}

async function rests<Scope>(parts: SagaParts<Scope>, context: MoveContext): Promise<z.infer<typeof RestOutput>> {
  const key = { tenantId: context.tenantId, roomId: sourceOf(context.params) };
  if ((await standingOf(parts, context)) !== 'under_way') throw new Problem('incarnation.stale', { detail: 'the copy was given up' });
  const source = await parts.mover.edit(key, 'system', 'room.hold', heldBy(context.params.roomId));
  if (!source) throw new Problem('room.not_found');
  const { image, bootNext }: Resting = await parts.waiter.until(key, source, { judge: judgeResting(source), joins: true, onTimeout: 'room.busy', signal: undefined });
  return { image, bootNext };
}

async function copies<Scope>(parts: SagaParts<Scope>, context: MoveContext): Promise<void> {
  const { params, tenantId } = context;
  const { roomId, userId, incarnation, move, templateId } = params;
  const stands = await standingOf(parts, context);
  if (stands === 'taken') return;
  if (stands === 'over') throw new Problem('incarnation.stale', { detail: 'the copy was given up' });
  const { image, bootNext } = RestOutput.parse(context.outputs['rest']);
  const [host, sourceKeys, keys] = await Promise.all([
    parts.fleet.host(hostIdOf(params)),
    parts.secrets.roomKeys(tenantId, userId, sourceOf(params)),
    parts.secrets.roomKeys(tenantId, userId, roomId),
  ]);
  const order = { operationId: operationId(context, 'copied'), templateId, generation: move, source: { image, keys: sourceKeys }, keys };
  const report = await parts.hosts.ensureCopied({ id: host.id, url: host.description.url }, { roomId, incarnation }, order).catch(onlyOnce);
  const event: LifecycleEvent = { kind: 'sealed', incarnation, image: report.image, engine: engineOf(host), bootNext, detail: { durableMs: Math.round(report.durationMs) } };
  const applied = await parts.mover.apply({ tenantId, roomId }, event, { actor: `host:${host.id}`, sequence: report.sequence });
  const taken = applied.verdict.kind === 'move' || applied.room?.image?.id === report.image.id || applied.room?.previous?.id === report.image.id;
  if (!taken) throw new Problem('image.stale', { detail: 'the image is not of this copy' });
}

/** A room is not kept asleep for somebody who hopes that a full disk empties: only a host that could not be heard, or is just about to let go of the room, is asked again. */
function onlyOnce(error: unknown): never {
  const passes = isProblem(error, 'host.unavailable') || isProblem(error, 'room.busy');
  if (passes || !isProblem(error) || error.retryAfterMs === undefined) throw error;
  throw new Problem('room.not_copied', { detail: `The room could not be copied (${error.code}).`, cause: error });
}

/** What the row has taken over stays; else nothing may be left. A host that cannot be reached is left to the room's destruction, which follows. */
async function removeCopy<Scope>(parts: SagaParts<Scope>, context: MoveContext): Promise<void> {
  const { incarnation } = context.params;
  if ((await standingOf(parts, context)) === 'taken') return;
  const where = { incarnation, hostId: hostIdOf(context.params) };
  await ensureGone(parts, context, where, 'copy_failed', true).catch((err: unknown) => context.log.warn({ err, ...where }, 'a copy that failed could not be removed yet'));
}

async function release_<Scope>(parts: SagaParts<Scope>, context: MoveContext): Promise<void> {
  await letGo(parts, context);
  const where = { incarnation: context.params.incarnation, hostId: hostIdOf(context.params) };
  await endIncarnation(parts, context, where, 'copied').catch((err: unknown) => context.log.warn({ err, ...where }, 'an incarnation that copied could not be closed; the reconcilers will'));
}

async function letGo<Scope>(parts: SagaParts<Scope>, context: MoveContext): Promise<void> {
  const key = { tenantId: context.tenantId, roomId: sourceOf(context.params) };
  const found = await parts.store.find(key.tenantId, key.roomId);
  if (found?.room.holders.includes(context.params.roomId)) await parts.mover.edit(key, 'system', 'room.release', releasedBy(context.params.roomId));
}

/** Where the room stands to this copy: still being made, `taken` into the row, or given up, be it because nobody wants it any more. */
async function standingOf<Scope>(parts: SagaParts<Scope>, { params, tenantId }: MoveContext): Promise<'under_way' | 'taken' | 'over'> {
  const room = (await parts.store.find(tenantId, params.roomId))?.room;
  if (standing(room, params) === 'under_way') return room?.wanted === 'gone' ? 'over' : 'under_way';
  return room?.hasDisk ? 'taken' : 'over';
}

function sourceOf({ source }: MoveParams): string {
  if (source === null) throw new Problem('internal', { detail: 'a copy of nothing' });
  return source;
}
