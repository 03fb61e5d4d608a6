import { type Clock, systemClock } from '@alcove/base';
import { type ListUsers, Problem, Tenant as TenantSchema, type Tenant, type User, type UserPage } from '@alcove/contracts';
import type { Db, SqlTx, Tx } from '@alcove/db';
import { decodeCursor, encodeCursor } from './cursor';

export type UserState = User['state'];

/** Tells how many rooms each of these users has. Given by the application, because rooms are not identity's to know; a user that is missing has none. */
export type CountRooms = (tx: SqlTx, tenantId: string, userIds: readonly string[]) => Promise<ReadonlyMap<string, number>>;

interface UserRow {
  id: string;
  state: string;
  createdAt: Date;
}

/** The end users of the tenants. A user comes to be with its first room, and its name is never used again once it was destroyed. */
export class Users {
  readonly #clock: Clock;
  readonly #countRooms: CountRooms;

  constructor(options: { clock?: Clock; countRooms?: CountRooms } = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#countRooms = options.countRooms ?? (async () => new Map());
  }

  /**
   * Makes the user when it is new, and locks its row until the transaction ends, so that what the caller counts of its rooms stays true, and tells how many
   * the tenant allows. Problem `user.gone` when it is being destroyed or was.
   */
  async ensureUser(tx: SqlTx, tenantId: string, userId: string): Promise<{ created: boolean; roomsPerUser: number; sandboxesPerUser: number }> {
    const now = new Date(this.#clock.now());
    const made = await tx.$executeRaw`
      insert into app_user (tenant_id, id, state, created_at, state_since) values (${tenantId}::uuid, ${userId}, 'active', ${now}::timestamptz, ${now}::timestamptz)
      on conflict do nothing`;
    const locked = await this.#lock(tx, tenantId, userId);
    if (locked?.state !== 'active') throw new Problem('user.gone');
    return { created: made === 1, roomsPerUser: locked.roomsPerUser, sandboxesPerUser: locked.sandboxesPerUser };
  }

  /** What the tenant's rooms get where their maker says nothing. */
  async lifecycles(tx: SqlTx, tenantId: string): Promise<Tenant['lifecycles']> {
    const [row] = await tx.$queryRaw<{ lifecycles: unknown }[]>`select lifecycles from tenant where id = ${tenantId}::uuid`;
    return TenantSchema.shape.lifecycles.parse(row?.lifecycles ?? {});
  }

  /** Problem `user.not_found`. */
  async get(tx: SqlTx, tenantId: string, userId: string): Promise<User> {
    const [row] = await tx.$queryRaw<UserRow[]>`select id, state, created_at as "createdAt" from app_user where tenant_id = ${tenantId}::uuid and id = ${userId}`;
    if (!row) throw new Problem('user.not_found');
    const [user] = await this.#withRooms(tx, tenantId, [row]);
    if (!user) throw new Problem('user.not_found');
    return user;
  }

  /** Problems: `user.not_found`; `user.gone` when it is being destroyed or was. */
  async requireActive(tx: SqlTx, tenantId: string, userId: string): Promise<void> {
    const [row] = await tx.$queryRaw<{ state: UserState }[]>`select state from app_user where tenant_id = ${tenantId}::uuid and id = ${userId}`;
    if (!row) throw new Problem('user.not_found');
    if (row.state !== 'active') throw new Problem('user.gone');
  }

  /** By name. Problem `request.invalid` for a cursor that is not ours. */
  async list(tx: Tx, tenantId: string, query: ListUsers): Promise<UserPage> {
    const after = query.cursor === undefined ? undefined : decodeCursor(query.cursor, 1)[0];
    const rows = await tx.appUser.findMany({
      where: { tenantId, ...(after === undefined ? {} : { id: { gt: after } }) },
      orderBy: { id: 'asc' },
      take: query.limit + 1,
    });
    const shown = rows.slice(0, query.limit);
    const last = shown.at(-1);
    const nextCursor = rows.length > query.limit && last ? encodeCursor([last.id]) : null;
    return { users: await this.#withRooms(tx, tenantId, shown), nextCursor };
  }

  /** From now on the user gets no room. True when this call did it, false when it was so already. Problem `user.not_found`. */
  async markDestroying(tx: SqlTx, tenantId: string, userId: string): Promise<boolean> {
    const locked = await this.#lock(tx, tenantId, userId);
    if (!locked) throw new Problem('user.not_found');
    if (locked.state !== 'active') return false;
    await this.#become(tx, tenantId, userId, 'destroying');
    return true;
  }

  /** All that the user had is gone. True when this call did it. Problem `user.not_found`. */
  async markDestroyed(tx: SqlTx, tenantId: string, userId: string): Promise<boolean> {
    const locked = await this.#lock(tx, tenantId, userId);
    if (!locked) throw new Problem('user.not_found');
    if (locked.state === 'destroyed') return false;
    await this.#become(tx, tenantId, userId, 'destroyed');
    return true;
  }

  /** Users of any tenant that have been `destroying` for at least that long, for the reconciler that finishes it. */
  async destroying(db: Db, olderThanMs: number, limit: number): Promise<{ tenantId: string; userId: string }[]> {
    const before = new Date(this.#clock.now() - olderThanMs);
    const rows = await db.asSystem('reconcile', (tx) =>
      tx.appUser.findMany({ where: { state: 'destroying', stateSince: { lte: before } }, orderBy: { stateSince: 'asc' }, take: limit, select: { tenantId: true, id: true } }),
    );
    return rows.map((row) => ({ tenantId: row.tenantId, userId: row.id }));
  }

  async #lock(tx: SqlTx, tenantId: string, userId: string): Promise<{ state: UserState; roomsPerUser: number; sandboxesPerUser: number } | null> {
    const rows = await tx.$queryRaw<{ state: UserState; roomsPerUser: number; sandboxesPerUser: number }[]>`
      select u.state, t.rooms_per_user as "roomsPerUser", t.sandboxes_per_user as "sandboxesPerUser" from app_user u join tenant t on t.id = u.tenant_id
      where u.tenant_id = ${tenantId}::uuid and u.id = ${userId} for update of u`;
    return rows[0] ?? null;
  }

  async #become(tx: SqlTx, tenantId: string, userId: string, state: UserState): Promise<void> {
    await tx.$executeRaw`update app_user set state = ${state}, state_since = ${new Date(this.#clock.now())}::timestamptz where tenant_id = ${tenantId}::uuid and id = ${userId}`;
  }

  async #withRooms(tx: SqlTx, tenantId: string, rows: readonly UserRow[]): Promise<User[]> {
    const counts = rows.length === 0 ? new Map<string, number>() : await this.#countRooms(tx, tenantId, rows.map((row) => row.id));
    return rows.map((row) => ({ id: row.id, rooms: counts.get(row.id) ?? 0, createdAt: row.createdAt.toISOString(), state: row.state as UserState }));
  }
}
