import { createHash } from 'node:crypto';
import type { Json } from '@alcove/db';
import { canonicalJson } from './canonical-json';

/** What happened. Everything but the place in the chain. */
export interface AuditEvent {
  tenantId: string;
  /** Who did it: `key:<id>`, `platform`, `system`, `host:<id>`. */
  actor: string;
  /** `<noun>.<verb>`, for instance `room.create`. */
  action: string;
  /** What it was done to: `<noun>:<id>`. */
  resource: string;
  /** What else a reader must know. No secrets, no content of users. */
  facts: { [name: string]: Json };
  /** Wall clock, milliseconds. */
  at: number;
}

export interface AuditRecord extends AuditEvent {
  /** 1 for the tenant's first record, without gaps. */
  seq: bigint;
  prev: Buffer;
  hash: Buffer;
}

/** What stands before the first record of every chain. */
export const genesis = Buffer.alloc(32);

/** SHA-256 over the canonical JSON of the event. */
export function eventHash(event: AuditEvent): Buffer {
  const { tenantId, actor, action, resource, facts, at } = event;
  return createHash('sha256').update(canonicalJson({ tenantId: tenantId.toLowerCase(), actor, action, resource, facts, at })).digest();
}

/** SHA-256 over the hash before, the number (64 bits, big-endian) and the event's hash. The same is computed in SQL by append(). */
export function recordHash(prev: Buffer, seq: bigint, event: Buffer): Buffer {
  const number = Buffer.alloc(8);
  number.writeBigInt64BE(seq);
  return createHash('sha256').update(prev).update(number).update(event).digest();
}
