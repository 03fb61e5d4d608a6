import { limits } from '@alcove/base';
import { z } from 'zod';
import { SignedReceipt } from './receipts';
import { RoomLifecycle, UserId } from './rooms';

/** What a key may do. `platform` is the operator's: tenants, keys, metrics; it sees no room. */
export const scopes = ['rooms:read', 'rooms:write', 'rooms:exec', 'users:write', 'keys:write', 'memory:read', 'memory:write', 'platform'] as const;
export const Scope = z.enum(scopes);
export type Scope = z.infer<typeof Scope>;

export const CreateTenant = z.strictObject({ name: z.string().min(1).max(128), roomsPerUser: z.int().min(1).max(1000).optional() }).meta({ id: 'CreateTenant' });
export type CreateTenant = z.infer<typeof CreateTenant>;
/** What rooms of each kind get where their maker says nothing; what is left out is the platform's default. */
const lifecycles = z.strictObject({ room: RoomLifecycle.partial(), sandbox: RoomLifecycle.partial() }).partial();
function isPossible(defaults: z.infer<typeof lifecycles>): boolean {
  return Object.values(defaults).every(({ autoResume, keepMemory }) => !autoResume || keepMemory !== false);
}
/** What is left out stays as it is; `lifecycles` is replaced as a whole. */
export const ChangeTenant = z
  .strictObject({ roomsPerUser: z.int().min(1).max(1000), sandboxesPerUser: z.int().min(1).max(100_000), lifecycles: lifecycles.refine(isPossible, 'autoResume: not together with keepMemory: false') })
  .partial()
  .meta({ id: 'ChangeTenant' });
export type ChangeTenant = z.infer<typeof ChangeTenant>;
export const Tenant = z.strictObject({ id: z.uuid(), name: z.string(), roomsPerUser: z.int(), sandboxesPerUser: z.int(), lifecycles, createdAt: z.iso.datetime() }).meta({ id: 'Tenant' });
export type Tenant = z.infer<typeof Tenant>;
export const TenantPage = z.strictObject({ tenants: z.array(Tenant), nextCursor: z.string().nullable() }).meta({ id: 'TenantPage' });
export type TenantPage = z.infer<typeof TenantPage>;

export const CreateApiKey = z
  .strictObject({ name: z.string().min(1).max(128), scopes: z.array(Scope.exclude(['platform'])).min(1).optional(), expiresAt: z.iso.datetime().optional(), ratePerSecond: z.int().min(1).max(10_000).optional(), concurrent: z.int().min(1).max(10_000).optional() })
  .meta({ id: 'CreateApiKey' });
export type CreateApiKey = z.infer<typeof CreateApiKey>;
export const ApiKey = z
  .strictObject({ id: z.string(), tenantId: z.uuid().nullable(), name: z.string(), prefix: z.string(), scopes: z.array(Scope), ratePerSecond: z.int(), concurrent: z.int(), createdAt: z.iso.datetime(), expiresAt: z.iso.datetime().nullable(), revokedAt: z.iso.datetime().nullable(), lastUsedAt: z.iso.datetime().nullable() })
  .meta({ id: 'ApiKey' });
export type ApiKey = z.infer<typeof ApiKey>;
export const NewApiKey = ApiKey.extend({ key: z.string().meta({ description: 'Shown once' }) }).meta({ id: 'NewApiKey' });
export type NewApiKey = z.infer<typeof NewApiKey>;
/** Rotation: a new secret under the same settings; the old one keeps working for overlapMs. */
export const RotateApiKey = z.strictObject({ overlapMs: z.int().min(0).max(7 * 24 * 3600_000).default(0) }).meta({ id: 'RotateApiKey' });
export type RotateApiKey = z.infer<typeof RotateApiKey>;

export const User = z.strictObject({ id: UserId, rooms: z.int(), createdAt: z.iso.datetime(), state: z.enum(['active', 'destroying', 'destroyed']) }).meta({ id: 'User' });
export type User = z.infer<typeof User>;
/** A user that is being destroyed, and by which erasure. */
export const DestroyedUser = User.extend({ erasureId: z.string() }).meta({ id: 'DestroyedUser' });
export type DestroyedUser = z.infer<typeof DestroyedUser>;
export const Erasure = z
  .strictObject({
    id: z.string(),
    userId: UserId,
    state: z.enum(['destroying_keys', 'purging', 'rewrapping', 'done']).meta({ description: 'From `purging` on nothing of the user can be read' }),
    requestedAt: z.iso.datetime(),
    keysDestroyedAt: z.iso.datetime().nullable(),
    endedAt: z.iso.datetime().nullable(),
    receipt: SignedReceipt.nullable().meta({ description: 'Null until it is done' }),
  })
  .meta({ id: 'Erasure' });
export type Erasure = z.infer<typeof Erasure>;
export const ListUsers = z.strictObject({ cursor: z.string().max(512).optional(), limit: z.coerce.number().int().min(1).max(limits.page.max).default(limits.page.default) });
export type ListUsers = z.infer<typeof ListUsers>;
export const UserPage = z.strictObject({ users: z.array(User), nextCursor: z.string().nullable() }).meta({ id: 'UserPage' });
export type UserPage = z.infer<typeof UserPage>;

/** Who asks: the result of checking a key; every service call takes one. `tenantId` is null only for the platform key. */
export interface Principal {
  readonly kind: 'key' | 'platform' | 'system';
  readonly keyId: string;
  readonly tenantId: string | null;
  readonly scopes: readonly Scope[];
  readonly ratePerSecond: number;
  readonly concurrent: number;
}
