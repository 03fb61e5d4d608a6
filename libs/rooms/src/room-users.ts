import { limits, type Log } from '@alcove/base';
import type { User } from '@alcove/contracts';
import type { SqlTx } from '@alcove/db';
import type { Outbox } from '@alcove/jobs';
import { mayLive } from './lifecycle/lifecycle';
import type { InTransaction, RoomAudit, RoomOwners } from './ports';
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

/** Destroys a user: no new room, then an end to every room, then its keys, then what is left. Each call does what can be done now; a reconciler calls until it is done. */
export class RoomUsers<Scope = SqlTx> {
  constructor(private readonly parts: RoomUsersParts<Scope>) {}

  /** Begins; resolves with the user as it then is. Problem `user.not_found`. */
  async destroy(tenantId: string, userId: string, actor: string): Promise<User> {
    const { owners, outbox, audit, inTransaction, log } = this.parts;
    const user = await inTransaction(tenantId, async (scope) => {
      if (await owners.markDestroying(scope, tenantId, userId)) {
        await outbox.enqueue(scope, 'user.destroy', { userId, tenantId });
        await audit.append(scope, { tenantId, actor, action: 'user.destroy', resource: `user:${userId}`, facts: {} });
      }
      return owners.user(scope, tenantId, userId);
    });
    this.finish(tenantId, userId).catch((err: unknown) => log.info({ err, userId }, 'a user cannot be destroyed yet'));
    return user;
  }

  /**
   * True when nothing of the user is left. The keys go as soon as none of its rooms can live again: what is left on disks then cannot be read, and to remove it may
   * wait for a host that is away.
   */
  async finish(tenantId: string, userId: string): Promise<boolean> {
    const { store, owners, inTransaction } = this.parts;
    const rooms = await store.list(tenantId, { userId, kinds: ['room', 'sandbox', 'snapshot'], limit: limits.page.max });
    let over = rooms.length < limits.page.max;
    for (const room of rooms) over = (await this.#end({ tenantId, roomId: room.id })) && over;
    if (rooms.length > 0) {
      if (over) await inTransaction(tenantId, (scope) => owners.destroyKeys(scope, tenantId, userId));
      return false;
    }
    await inTransaction(tenantId, (scope) => owners.markDestroyed(scope, tenantId, userId));
    return true;
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

  /** Begins to destroy a room; true when nothing of it may live, now or ever: it is unwanted for good, and every incarnation is known to be over. */
  async #end(key: RoomKey): Promise<boolean> {
    const { store, mover, log } = this.parts;
    try {
      await mover.apply(key, { kind: 'destroy', reason: 'user_destroyed' }, { actor: 'system' });
    } catch (err) {
      log.warn({ err, roomId: key.roomId }, 'a room of a user cannot be destroyed yet');
    }
    const found = await store.find(key.tenantId, key.roomId);
    return !found || (found.room.wanted === 'gone' && !mayLive(found.room.state) && found.open.length === 0);
  }
}
