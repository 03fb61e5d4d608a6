import type { Erasure, RoomKeys, RoomKind, RoomLifecycle, User } from '@alcove/contracts';
import type { Json, SqlTx } from '@alcove/db';
import type { RoomTokens } from '@alcove/keys';
import type { RoomLimit } from './rooms.store';

/** What rooms need of other libs, as narrow as that: each has an adapter (`adapters.ts`) and a memory version in the simulator. */

/** Keys: `KeysService` of libs/keys. */
export interface RoomSecrets {
  /** Throws `vault.key_unavailable`, or `user.gone` when the user's key was destroyed. */
  roomKeys(tenantId: string, userId: string, roomId: string): Promise<RoomKeys>;
  /** What is shown at the edge. Throws as roomKeys. */
  roomTokens(tenantId: string, userId: string, roomId: string): Promise<RoomTokens>;
  sealEnv(tenantId: string, userId: string, roomId: string, vars: Readonly<Record<string, string>>): Promise<string>;
  openEnv(tenantId: string, userId: string, roomId: string, sealed: string): Promise<Record<string, string>>;
  /** Tenants whose key provider refuses its key. */
  revoked(): Promise<readonly string[]>;
}

export interface RoomAuditEntry {
  readonly tenantId: string;
  readonly actor: string;
  readonly action: string;
  readonly resource: string;
  readonly facts: { [name: string]: Json };
}

/** Audit records in the caller's transaction: `Audit` of libs/audit. */
export interface RoomAudit<Scope = SqlTx> {
  append(scope: Scope, entry: RoomAuditEntry): Promise<void>;
}

/** Tenants and users, in the caller's transaction: `Users` of libs/identity. */
export interface RoomOwners<Scope = SqlTx> {
  /** Makes the user if it is new and keeps others from counting its rooms until the transaction ends. Throws `user.gone`. */
  admit(scope: Scope, tenantId: string, userId: string): Promise<RoomLimit>;
  /** What the tenant wants of its rooms of this kind where their maker says nothing. */
  defaults(tenantId: string, kind: RoomKind): Promise<Partial<RoomLifecycle>>;
  /** Throws `user.not_found`. */
  user(scope: Scope, tenantId: string, userId: string): Promise<User>;
  /** From now on the user gets no room. False when it was so already. Throws `user.not_found`. */
  markDestroying(scope: Scope, tenantId: string, userId: string): Promise<boolean>;
  /** Begins to forget the user, or finds that it has begun; `go` is called after the commit. The user's keys go first, whatever its rooms do. */
  beginErasure(scope: Scope, tenantId: string, userId: string, actor: string): Promise<{ id: string; go: () => void }>;
  /** Throws `user.not_found`, `erasure.not_found`. */
  erasure(tenantId: string, userId: string): Promise<Erasure>;
  /** What there is of the user is written down, for the receipt: from here on it may be removed. */
  mayRemove(tenantId: string, userId: string): Promise<boolean>;
  /** No room of the user is left: goes on with the erasure as far as it gets now. True when the user is destroyed. */
  proceedErasure(tenantId: string, userId: string): Promise<boolean>;
  /** Users of any tenant that are being destroyed. */
  destroying(limit: number): Promise<{ tenantId: string; userId: string }[]>;
}

/** One transaction of a tenant, for what is not a room's save. */
export type InTransaction<Scope = SqlTx> = <T>(tenantId: string, work: (scope: Scope) => Promise<T>) => Promise<T>;
