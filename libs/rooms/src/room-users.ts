import { limits, type Log } from '@alcove/base';
import type { User } from '@alcove/contracts';
import type { SqlTx } from '@alcove/db';
import type { Outbox } from '@alcove/jobs';
import type { InTransaction, RoomAudit, RoomOwners } from './ports';
import type { RoomMover } from './room-mover';
import type { RoomsStore } from './rooms.store';

export interface RoomUsersParts<Scope = SqlTx> {
  readonly store: RoomsStore<Scope>;
  readonly mover: Pick<RoomMover<Scope>, 'apply'>;
  readonly owners: RoomOwners<Scope>;
  readonly outbox: Outbox<Scope>;
  readonly audit: RoomAudit<Scope>;
  readonly inTransaction: InTransaction<Scope>;
  readonly log: Log;
}

/** Destroys a user: no new room, then every room, then the user with its keys. Each call does what can be done now; a reconciler calls until it is done. */
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

  /** True when nothing of the user is left. */
  async finish(tenantId: string, userId: string): Promise<boolean> {
    const { store, mover, owners, inTransaction } = this.parts;
    const rooms = await store.list(tenantId, { userId, limit: limits.page.max });
    for (const room of rooms) await mover.apply({ tenantId, roomId: room.id }, { kind: 'destroy', reason: 'user_destroyed' }, { actor: 'system' });
    if (rooms.length > 0) return false;
    await inTransaction(tenantId, (scope) => owners.markDestroyed(scope, tenantId, userId));
    return true;
  }

  /** For the reconciler. */
  async finishDestroying(): Promise<{ destroyed: number; waiting: number }> {
    const report = { destroyed: 0, waiting: 0 };
    for (const { tenantId, userId } of await this.parts.owners.destroying(limits.reconciler.batch)) {
      if (await this.finish(tenantId, userId)) report.destroyed += 1;
      else report.waiting += 1;
    }
    return report;
  }
}
