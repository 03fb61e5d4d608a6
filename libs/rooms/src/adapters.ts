import { limits } from '@alcove/base';
import type { Erasure, RoomKeys, RoomKind, RoomLifecycle, User } from '@alcove/contracts';
import type { Db, SqlTx } from '@alcove/db';
import type { CountRooms, Users } from '@alcove/identity';
import type { Erasures, KeysService, RoomTokens, TenantKeys } from '@alcove/keys';
import type { RoomOwners, RoomSecrets } from './ports';
import type { RoomLimit } from './rooms.store';

/** RoomSecrets by libs/keys. A sealed environment lies in the row as base64. */
export class KeysSecrets implements RoomSecrets {
  constructor(
    private readonly keys: KeysService,
    private readonly tenantKeys: Pick<TenantKeys, 'revoked'>,
  ) {}

  revoked(): Promise<readonly string[]> {
    return this.tenantKeys.revoked();
  }

  roomKeys(tenantId: string, userId: string, roomId: string): Promise<RoomKeys> {
    return this.keys.roomKeys(tenantId, userId, roomId);
  }

  roomTokens(tenantId: string, userId: string, roomId: string): Promise<RoomTokens> {
    return this.keys.roomTokens(tenantId, userId, roomId);
  }

  async sealEnv(tenantId: string, userId: string, roomId: string, vars: Readonly<Record<string, string>>): Promise<string> {
    return (await this.keys.sealEnv(tenantId, userId, roomId, vars)).toString('base64');
  }

  openEnv(tenantId: string, userId: string, roomId: string, sealed: string): Promise<Record<string, string>> {
    return this.keys.openEnv(tenantId, userId, roomId, Buffer.from(sealed, 'base64'));
  }
}

/** RoomOwners by libs/identity; a user is forgotten by libs/keys. */
export class IdentityOwners implements RoomOwners<SqlTx> {
  constructor(
    private readonly db: Db,
    private readonly users: Users,
    private readonly erasures: Pick<Erasures, 'begin' | 'get' | 'mayRemove' | 'proceed'>,
  ) {}

  async admit(tx: SqlTx, tenantId: string, userId: string): Promise<RoomLimit> {
    const { roomsPerUser, sandboxesPerUser } = await this.users.ensureUser(tx, tenantId, userId);
    return { roomsPerUser, sandboxesPerUser };
  }

  defaults(tenantId: string, kind: RoomKind): Promise<Partial<RoomLifecycle>> {
    return this.db.withTenantSql(tenantId, async (tx) => (await this.users.lifecycles(tx, tenantId))[kind] ?? {});
  }

  user(tx: SqlTx, tenantId: string, userId: string): Promise<User> {
    return this.users.get(tx, tenantId, userId);
  }

  markDestroying(tx: SqlTx, tenantId: string, userId: string): Promise<boolean> {
    return this.users.markDestroying(tx, tenantId, userId);
  }

  beginErasure(tx: SqlTx, tenantId: string, userId: string, actor: string): Promise<{ id: string; go: () => void }> {
    return this.erasures.begin(tx, { tenantId, userId }, actor);
  }

  async erasure(tenantId: string, userId: string): Promise<Erasure> {
    await this.db.withTenantSql(tenantId, (tx) => this.users.get(tx, tenantId, userId));
    return this.erasures.get({ tenantId, userId });
  }

  mayRemove(tenantId: string, userId: string): Promise<boolean> {
    return this.erasures.mayRemove({ tenantId, userId });
  }

  proceedErasure(tenantId: string, userId: string): Promise<boolean> {
    return this.erasures.proceed({ tenantId, userId });
  }

  destroying(limit: number): Promise<{ tenantId: string; userId: string }[]> {
    return this.users.destroying(this.db, 0, Math.min(limit, limits.reconciler.batch));
  }
}

/** How many rooms users have, for libs/identity, which does not know rooms. */
export const countRooms: CountRooms = async (tx, tenantId, userIds) => {
  const rows = await tx.$queryRaw<{ userId: string; rooms: number }[]>`
    select user_id as "userId", count(*)::int as rooms from room
    where tenant_id = ${tenantId}::uuid and user_id = any(${[...userIds]}::text[]) and kind <> 'snapshot' and state <> 'destroyed' group by user_id`;
  return new Map(rows.map(({ userId, rooms }) => [userId, rooms]));
};
