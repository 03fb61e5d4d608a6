import { Problem, type RoomKeys, type RoomLifecycle, type User } from '@alcove/contracts';
import type { MemoryScope } from '@alcove/jobs';
import type { RoomAudit, RoomAuditEntry, RoomLimit, RoomOwners, RoomSecrets } from '@alcove/rooms';
import { createHash } from 'node:crypto';

type Scope = MemoryScope | undefined;

/** RoomOwners in memory: every tenant allows the same number of rooms. */
export class SimOwners implements RoomOwners<Scope> {
  readonly #users = new Map<string, { tenantId: string; userId: string; state: User['state'] }>();

  constructor(private readonly roomsPerUser: number) {}

  async admit(_scope: Scope, tenantId: string, userId: string): Promise<RoomLimit> {
    const key = `${tenantId}/${userId}`;
    const user = this.#users.get(key) ?? { tenantId, userId, state: 'active' as const };
    if (user.state !== 'active') throw new Problem('user.gone');
    this.#users.set(key, user);
    return { roomsPerUser: this.roomsPerUser };
  }

  async defaults(): Promise<Partial<RoomLifecycle>> {
    return {};
  }

  async user(_scope: Scope, tenantId: string, userId: string): Promise<User> {
    return { id: userId, rooms: 0, createdAt: new Date(0).toISOString(), state: this.#get(tenantId, userId).state };
  }

  async markDestroying(_scope: Scope, tenantId: string, userId: string): Promise<boolean> {
    return this.#become(tenantId, userId, 'active', 'destroying');
  }

  async beginErasure(): Promise<{ id: string; go: () => void }> {
    return { id: 'erase_00000000000000000000', go: () => undefined };
  }

  async erasure(): Promise<never> {
    throw new Problem('erasure.not_found');
  }

  async mayRemove(): Promise<boolean> {
    return true;
  }

  async proceedErasure(tenantId: string, userId: string): Promise<boolean> {
    this.#become(tenantId, userId, 'destroying', 'destroyed');
    return true;
  }

  async destroying(limit: number): Promise<{ tenantId: string; userId: string }[]> {
    return [...this.#users.values()].filter((user) => user.state === 'destroying').slice(0, limit);
  }

  #become(tenantId: string, userId: string, from: User['state'], to: User['state']): boolean {
    const user = this.#get(tenantId, userId);
    if (user.state !== from) return false;
    user.state = to;
    return true;
  }

  #get(tenantId: string, userId: string): { state: User['state'] } {
    const user = this.#users.get(`${tenantId}/${userId}`);
    if (!user) throw new Problem('user.not_found');
    return user;
  }
}

/** Keys that are the same for the same room, and an environment that is sealed only in name. */
export const simSecrets: RoomSecrets = {
  roomKeys: async (_tenantId, userId, roomId): Promise<RoomKeys> => {
    const key = (purpose: string): string => createHash('sha256').update(`${userId}/${roomId}/${purpose}`).digest('base64');
    return { image: key('image'), disk: key('disk') };
  },
  roomTokens: async (_tenantId, userId, roomId) => {
    const token = (purpose: string): string => createHash('sha256').update(`${userId}/${roomId}/token/${purpose}`).digest('hex');
    return { surface: token('surface'), traffic: token('traffic') };
  },
  sealEnv: async (_tenantId, _userId, _roomId, vars) => Buffer.from(JSON.stringify(vars)).toString('base64'),
  revoked: async () => [],
  openEnv: async (_tenantId, _userId, _roomId, sealed) => JSON.parse(Buffer.from(sealed, 'base64').toString()) as Record<string, string>,
};

/** Audit records of a simulation. */
export class SimAudit implements RoomAudit<Scope> {
  readonly entries: RoomAuditEntry[] = [];

  async append(scope: Scope, entry: RoomAuditEntry): Promise<void> {
    this.entries.push(entry);
    scope?.onRollback(() => this.entries.splice(this.entries.indexOf(entry), 1));
  }
}
