import { type Clock, limits, newUuid } from '@alcove/base';
import { type ChangeTenant, type CreateTenant, type ListUsers, type Principal, Problem, Tenant as TenantSchema, type Tenant, type TenantPage } from '@alcove/contracts';
import type { Audit } from '@alcove/audit';
import { type Db, isUniqueViolation, type Tx } from '@alcove/db';
import { decodeCursor, encodeCursor } from './cursor';
import { actorOf, requireScope } from './principals';

interface TenantRow {
  id: string;
  name: string;
  roomsPerUser: number;
  sandboxesPerUser: number;
  lifecycles: unknown;
  createdAt: Date;
}

/** The tenants, which the operator makes. */
export class Tenants {
  constructor(
    private readonly db: Db,
    private readonly audit: Audit,
    private readonly clock: Clock,
  ) {}

  /** Problems: `auth.scope`, `tenant.exists`. */
  async create(principal: Principal, input: CreateTenant): Promise<Tenant> {
    requireScope(principal, 'platform');
    const tenant = { id: newUuid(), name: input.name, roomsPerUser: input.roomsPerUser ?? limits.room.roomsPerUser, sandboxesPerUser: limits.room.sandboxesPerUser, lifecycles: {}, createdAt: new Date(this.clock.now()) };
    try {
      await this.db.asSystem('platform-route', async (tx) => {
        await tx.tenant.create({ data: tenant });
        await this.audit.append(tx, { tenantId: tenant.id, actor: actorOf(principal), action: 'tenant.create', resource: `tenant:${tenant.id}`, facts: { name: tenant.name } });
      });
    } catch (error) {
      if (isUniqueViolation(error)) throw new Problem('tenant.exists', { cause: error });
      throw error;
    }
    return toTenant(tenant);
  }

  /** Oldest first. Problems: `auth.scope`, `request.invalid` for a cursor that is not ours. */
  async list(principal: Principal, query: ListUsers): Promise<TenantPage> {
    requireScope(principal, 'platform');
    const after = query.cursor === undefined ? null : readCursor(query.cursor);
    const rows = await this.db.asSystem('platform-route', (tx) =>
      tx.tenant.findMany({
        ...(after && { where: { OR: [{ createdAt: { gt: after.createdAt } }, { createdAt: after.createdAt, id: { gt: after.id } }] } }),
        orderBy: [{ createdAt: 'asc' }, { id: 'asc' }],
        take: query.limit + 1,
      }),
    );
    const shown = rows.slice(0, query.limit);
    const last = shown.at(-1);
    const nextCursor = rows.length > query.limit && last ? encodeCursor([last.createdAt.toISOString(), last.id]) : null;
    return { tenants: shown.map(toTenant), nextCursor };
  }

  /** Problems: `auth.scope`, `tenant.not_found`. */
  async get(principal: Principal, tenantId: string): Promise<Tenant> {
    requireScope(principal, 'platform');
    return this.db.withTenant(tenantId, (tx) => this.read(tx, tenantId));
  }

  /** Changes what its plan allows and what its rooms get by default; rooms that exist keep theirs. Problems: `auth.scope`, `tenant.not_found`. */
  async change(principal: Principal, tenantId: string, input: ChangeTenant): Promise<Tenant> {
    requireScope(principal, 'platform');
    return this.db.withTenant(tenantId, async (tx) => {
      await this.read(tx, tenantId);
      const { roomsPerUser, sandboxesPerUser, lifecycles } = input;
      const row = await tx.tenant.update({ where: { id: tenantId }, data: { ...(roomsPerUser && { roomsPerUser }), ...(sandboxesPerUser && { sandboxesPerUser }), ...(lifecycles && { lifecycles }) } });
      await this.audit.append(tx, { tenantId, actor: actorOf(principal), action: 'tenant.change', resource: `tenant:${tenantId}`, facts: { changed: Object.keys(input) } });
      return toTenant(row);
    });
  }

  /** Problem `tenant.not_found`. */
  async read(tx: Tx, tenantId: string): Promise<Tenant> {
    const row = await tx.tenant.findUnique({ where: { id: tenantId } });
    if (!row) throw new Problem('tenant.not_found');
    return toTenant(row);
  }
}

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

function readCursor(cursor: string): { createdAt: Date; id: string } {
  const [time = '', id = ''] = decodeCursor(cursor, 2);
  const createdAt = new Date(time);
  if (Number.isNaN(createdAt.getTime()) || !uuid.test(id)) throw new Problem('request.invalid', { errors: [{ path: 'query.cursor', message: 'not a cursor of this list' }] });
  return { createdAt, id };
}

function toTenant(row: TenantRow): Tenant {
  return { id: row.id, name: row.name, roomsPerUser: row.roomsPerUser, sandboxesPerUser: row.sandboxesPerUser, lifecycles: TenantSchema.shape.lifecycles.parse(row.lifecycles), createdAt: row.createdAt.toISOString() };
}
