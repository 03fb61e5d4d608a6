import { limits } from '@alcove/base';
import { isProblem } from '@alcove/contracts';
import type { Reconciler } from '@alcove/jobs';
import type { RoomRecord } from '../room';
import type { IncarnationRecord } from '../rooms.store';
import type { ReconcilerParts } from './reconciler-parts';

interface Orphan {
  readonly room: RoomRecord;
  readonly incarnation: IncarnationRecord;
}

/** What to do about an open incarnation that its room does not count on. Pure. Seen once is not enough: a saga may just be closing it. */
export function decideOrphan({ room, incarnation }: Orphan, seenBefore: boolean): 'wait' | 'end' {
  if (!seenBefore) return 'wait';
  // The newest of a failed room that was up may live after all: its host's beats tell, and the room is then taken back with its memory, or its row closed.
  const mayBeAdopted = room.state === 'failed' && incarnation.incarnation === room.incarnation && incarnation.phase === 'running';
  return mayBeAdopted ? 'wait' : 'end';
}

/** Incarnations that may live and should not: ended on their host, and their row closed. Never removes data. */
export function orphanIncarnations<Scope>({ store, fleet, hosts, clock, log }: ReconcilerParts<Scope>): Reconciler {
  let seen: ReadonlySet<string> = new Set();
  const end = async ({ room, incarnation }: Orphan): Promise<void> => {
    const key = { tenantId: room.tenantId, roomId: room.id };
    const where = { roomId: room.id, incarnation: incarnation.incarnation };
    let sequence: number | null = null;
    if (!(await fleet.isLost(incarnation.hostId))) {
      const host = await fleet.host(incarnation.hostId);
      const order = { operationId: `${room.id}.${incarnation.incarnation}.orphan`, reason: 'orphan', discard: false };
      sequence = await hosts.ensureGone({ id: host.id, url: host.description.url }, where, order).then((report) => report.sequence, staleIsGone);
    }
    await store.report(key, { incarnation: incarnation.incarnation, phase: 'gone', sequence, reason: 'orphan' }, clock.now());
  };
  return {
    name: 'incarnations.orphan',
    everyMs: limits.reconciler.everyMs,
    run: async () => {
      const report = { ended: 0, unreachable: 0 };
      const orphans = await store.orphans(limits.reconciler.batch);
      const before = seen;
      seen = new Set(orphans.map(nameOf));
      for (const orphan of orphans) {
        if (decideOrphan(orphan, before.has(nameOf(orphan))) === 'wait') continue;
        await end(orphan).then(
          () => (report.ended += 1),
          (error: unknown) => {
            report.unreachable += 1;
            log.info({ err: error, ...orphan.incarnation }, 'an orphan could not be ended yet');
          },
        );
      }
      return report;
    },
  };
}

function nameOf({ incarnation }: Orphan): string {
  return `${incarnation.roomId}/${incarnation.incarnation}`;
}

/** A host that knows a newer incarnation has ended this one. */
function staleIsGone(error: unknown): null {
  if (isProblem(error, 'incarnation.stale')) return null;
  throw error;
}
