import { z } from 'zod';

const text = (max: number): z.ZodString => z.string().min(1).max(max);

/** A key that a tenant brings: who holds it and how it is asked. What each field may be is checked by who opens it. Credentials are sealed, and never shown again. */
export const SetKeyProvider = z
  .discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('aws_kms'),
      keyArn: text(256).meta({ description: 'Of the key itself, no alias' }),
      formerKeyArns: z.array(text(256)).max(8).optional().meta({ description: 'Keys that wrapped before and still unwrap' }),
      credentials: z.strictObject({ accessKeyId: text(128), secretAccessKey: text(4096), sessionToken: text(4096).optional() }),
    }),
    z.strictObject({
      kind: z.literal('vault_transit'),
      url: z.url({ protocol: /^https$/ }).max(2048).meta({ description: 'Of Vault or OpenBao, at a public address' }),
      mount: text(256).optional(),
      key: text(128),
      namespace: text(256).optional(),
      credentials: z.strictObject({ token: text(4096) }),
    }),
  ])
  .meta({ id: 'SetKeyProvider' });
export type SetKeyProvider = z.infer<typeof SetKeyProvider>;

export const RotationId = z.string().regex(/^rot_[0-9a-f]{20}$/);
/** Wraps of keys that move under another key; what the keys have sealed is not touched. */
export const KeyRotation = z
  .strictObject({
    id: RotationId,
    state: z.enum(['running', 'done', 'failed']),
    total: z.int().meta({ description: "Users' keys to be wrapped again, as counted at the start" }),
    done: z.int(),
    error: z.string().nullable().meta({ description: 'Why it waits or what it left out' }),
    startedAt: z.iso.datetime(),
    endedAt: z.iso.datetime().nullable(),
  })
  .meta({ id: 'KeyRotation' });
export type KeyRotation = z.infer<typeof KeyRotation>;

/** A new version of a user's key, and what is sealed again under it: memory. */
export const UserKeyRotation = z
  .strictObject({
    id: RotationId,
    state: z.enum(['running', 'done', 'failed']),
    resealed: z.int().meta({ description: 'Rows sealed again so far. What rooms have stays under the first version' }),
    error: z.string().nullable().meta({ description: 'Why it waits or failed' }),
    startedAt: z.iso.datetime(),
    endedAt: z.iso.datetime().nullable(),
  })
  .meta({ id: 'UserKeyRotation' });
export type UserKeyRotation = z.infer<typeof UserKeyRotation>;

export const TenantKeyProvider = z
  .strictObject({
    holder: z.enum(['platform', 'tenant']).meta({ description: "Who holds the key above this tenant's" }),
    kind: z.enum(['aws_kms', 'vault_transit']).nullable(),
    keyId: z.string().nullable(),
    state: z.enum(['available', 'unreachable', 'revoked']).nullable().meta({ description: 'As the provider last answered. `revoked`: rooms and memory are closed until it answers again' }),
    stateSince: z.iso.datetime().nullable(),
    askedAt: z.iso.datetime().nullable(),
    closesWithinMs: z.int().meta({ description: 'After a revocation everything of the tenant is closed within this time' }),
    rotation: KeyRotation.nullable().meta({ description: 'The newest one' }),
  })
  .meta({ id: 'TenantKeyProvider' });
export type TenantKeyProvider = z.infer<typeof TenantKeyProvider>;
