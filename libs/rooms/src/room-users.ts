import { limits, type Log } from '@alcove/base';
import type { DestroyedUser } from '@alcove/contracts';
import type { SqlTx } from '@alcove/db';
import type { Outbox } from '@alcove/jobs';
import type { InTransaction, RoomAudit, RoomOwners } from './ports';
import type { RoomRecord } from './room';
import type { RoomMover } from './room-mover';
import type { RoomKey, RoomsStore } from './rooms.store';

export interface RoomUsersParts<Scope = SqlTx> {
  readonly store: RoomsStore<Scope>;
  readonly mover: Pick<RoomMover<Scope>, 'apply'>;
  readonly owners: RoomOwners<Scope>;
  readonly outbox: Outbox<Scope>;
  readonly audit: RoomAudit<Scope>;
  readonly inTransaction: InTransaction<Scope>;
  readonly log: Log;
}

/**
 * Destroys a user: no new room, its keys first (libs/keys, Erasures), then an end to every room, then what is left. Each call does what can be done now; the erasure's
 * saga and a reconciler call until it is done.
 */
export class RoomUsers<Scope = SqlTx> {
  constructor(private readonly parts: RoomUsersParts<Scope>) {}

  /** Begins; resolves with the user as it then is and the id of its erasure. Problem `user.not_found`. */
  async destroy(tenantId: string, userId: string, actor: string): Promise<DestroyedUser> {
    const { owners, outbox, audit, inTransaction, log } = this.parts;
    const { user, erasure } = await inTransaction(tenantId, async (scope) => {
      const first = await owners.markDestroying(scope, tenantId, userId);
      const begun = await owners.beginErasure(scope, tenantId, userId, actor);
      if (first) {
        await outbox.enqueue(scope, 'user.destroy', { userId, tenantId });
        await audit.append(scope, { tenantId, actor, action: 'user.destroy', resource: `user:${userId}`, facts: {} });
      }
      return { user: await owners.user(scope, tenantId, userId), erasure: begun };
    });
    erasure.go();
    this.finish(tenantId, userId).catch((err: unknown) => log.info({ err, userId }, 'a user cannot be destroyed yet'));
    return { ...user, erasureId: erasure.id };
  }

  /** True when nothing of the user is left. */
  async finish(tenantId: string, userId: string): Promise<boolean> {
    const { owners } = this.parts;
    // Else a room could be gone before anybody has seen what it had.
    if ((await owners.mayRemove(tenantId, userId)) && !(await this.purge(tenantId, userId)).over) return false;
    return owners.proceedErasure(tenantId, userId);
  }

  /** Ends every room of the user, as far as that goes now. Over when there is none left; `rooms` are those that it found. To remove what lies on a host may wait for that host. */
  async purge(tenantId: string, userId: string): Promise<{ over: boolean; rooms: readonly RoomRecord[] }> {
    const rooms = await this.roomsOf(tenantId, userId);
    for (const room of rooms) await this.#end({ tenantId, roomId: room.id });
    return { over: rooms.length === 0, rooms };
  }

  /** Rooms, sandboxes and snapshots that are not destroyed; a page of them. */
  roomsOf(tenantId: string, userId: string): Promise<RoomRecord[]> {
    return this.parts.store.list(tenantId, { userId, kinds: ['room', 'sandbox', 'snapshot'], limit: limits.page.max });
  }

  /** For the reconciler. One user that cannot be destroyed yet keeps no other from it. */
  async finishDestroying(): Promise<{ destroyed: number; waiting: number }> {
    const report = { destroyed: 0, waiting: 0 };
    for (const { tenantId, userId } of await this.parts.owners.destroying(limits.reconciler.batch)) {
      const done = await this.finish(tenantId, userId).catch((err: unknown) => {
        this.parts.log.warn({ err, tenantId, userId }, 'a user cannot be destroyed yet');
        return false;
      });
      report[done ? 'destroyed' : 'waiting'] += 1;
    }
    return report;
  }

  /** Wants the room gone; what comes of it is the reconcilers' too. */
  async #end(key: RoomKey): Promise<void> {
    const { mover, log } = this.parts;
    try {
      await mover.apply(key, { kind: 'destroy', reason: 'user_destroyed' }, { actor: 'system' });
    } catch (err) {
      log.warn({ err, roomId: key.roomId }, 'a room of a user cannot be destroyed yet');
    }
  }
}
