import { z } from 'zod';
import { UserId } from './rooms';

const time = z.iso.datetime();
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const name = z.string().min(1).max(256).refine((text) => text.isWellFormed(), 'must be well-formed text');

/** What was stored of a user and cannot be read any more. `sample`: random bytes that were sealed under the user's key just before it was destroyed, to be tried afterwards. */
export const erasedKinds = ['sample', 'memory_image', 'disk', 'checkpoint', 'record', 'event', 'block', 'vectors', 'environment', 'export', 'job_payload'] as const;

/** A key that was destroyed: every wrap of this version. */
export const DestroyedKey = z.strictObject({ keyId: name, version: z.int().min(1), destroyedAt: time }).meta({ id: 'DestroyedKey' });
export type DestroyedKey = z.infer<typeof DestroyedKey>;
/** Bytes that were left or purged; `sha256` is of the ciphertext as it was stored, null where it was purged before it could be taken. */
export const ErasedObject = z.strictObject({ kind: z.enum(erasedKinds), id: name, bytes: z.int().min(0), sha256: sha256.nullable() }).meta({ id: 'ErasedObject' });
export type ErasedObject = z.infer<typeof ErasedObject>;
/** One object that was tried to be read after the keys were destroyed, and the code that it failed with. */
export const ErasureEvidence = z
  .strictObject({ kind: z.enum(erasedKinds), id: name, sha256, triedAt: time, code: z.enum(['vault.key_unavailable', 'vault.corrupt', 'image.wrong_key']) })
  .meta({ id: 'ErasureEvidence' });
/** What the erasure does not reach, and until when; null: we do not know when, somebody else decides. */
export const NotCovered = z.strictObject({ what: z.string().min(1).max(512), until: time.nullable() }).meta({ id: 'NotCovered' });
export type NotCovered = z.infer<typeof NotCovered>;

/**
 * What is signed when a user was erased. It says which keys were destroyed and what thereby cannot be read; it does not prove that nobody copied a key before, and `notCovered`
 * names the copies that live on for a while.
 */
export const ErasureReceipt = z
  .strictObject({
    version: z.literal(1),
    kind: z.literal('erasure'),
    id: name,
    subject: z.strictObject({ tenantId: z.uuid(), userId: UserId }),
    startedAt: time,
    finishedAt: time,
    keys: z.array(DestroyedKey).max(10_000),
    objects: z.array(ErasedObject).max(200_000),
    evidence: z.array(ErasureEvidence).max(16),
    notCovered: z.array(NotCovered).max(32),
  })
  .refine(({ startedAt, finishedAt }) => Date.parse(startedAt) <= Date.parse(finishedAt), { message: 'ends before it starts', path: ['finishedAt'] })
  .meta({ id: 'ErasureReceipt' });
export type ErasureReceipt = z.infer<typeof ErasureReceipt>;

/** A receipt with its signature: Ed25519 (RFC 8032) over the canonical JSON (RFC 8785) of everything but `signature.value`. */
export const SignedReceipt = z
  .strictObject({
    receipt: ErasureReceipt,
    signature: z.strictObject({
      algorithm: z.literal('ed25519'),
      /** `sha256:` and the hash of the public key as SPKI DER. */
      keyId: z.string().regex(/^sha256:[0-9a-f]{64}$/),
      /** Base64 of 64 bytes. */
      value: z.string().regex(/^[A-Za-z0-9+/]{86}==$/),
    }),
  })
  .meta({ id: 'SignedReceipt' });
export type SignedReceipt = z.infer<typeof SignedReceipt>;
