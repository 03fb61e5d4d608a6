import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { limits, newId } from '@alcove/base';
import { type ApiKey, Problem, type Scope, scopes } from '@alcove/contracts';

/** `ak_<20 hex digits: the key's id>_<64 hex digits: 256 random bits>`. */
const keyForm = /^ak_([0-9a-f]{20})_[0-9a-f]{64}$/;

/** A key as its tenant sends it, and what the table keeps of it. */
export interface FreshKey {
  id: string;
  /** Shown once, stored nowhere. */
  key: string;
  hash: Buffer;
}

/** SHA-256. A slow hash would only protect secrets that can be guessed, which 256 random bits cannot. */
export function hashKey(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}

/** A new key, or a new secret for the key of this id. */
export function makeKey(id: string = newId('key')): FreshKey {
  const key = `${prefixOf(id)}_${randomBytes(32).toString('hex')}`;
  return { id, key, hash: hashKey(key) };
}

/** The id in a key that was sent, or null when it has not the form of one. */
export function keyIdOf(bearer: string): string | null {
  const short = keyForm.exec(bearer)?.[1];
  return short === undefined ? null : `key_${short}`;
}

/** What may be shown of a key to recognise it by. */
export function prefixOf(id: string): string {
  return `ak_${id.slice('key_'.length)}`;
}

/** Compares in a time that does not depend on where they differ. */
export function sameHash(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

/** One row of api_key. */
export interface ApiKeyRow {
  id: string;
  tenantId: string;
  name: string;
  scopes: string[];
  ratePerSecond: number;
  concurrent: number;
  secretHash: Uint8Array;
  previousHash: Uint8Array | null;
  previousUntil: Date | null;
  createdAt: Date;
  expiresAt: Date | null;
  revokedAt: Date | null;
  lastUsedAt: Date | null;
}

/** What a key may do when its maker names nothing: everything but the operator's work. */
export const tenantScopes: readonly Scope[] = scopes.filter((scope) => scope !== 'platform');

export const defaultRate = { ratePerSecond: limits.key.ratePerSecond, concurrent: limits.key.concurrent };

/**
 * Until when this key is good (wall clock, milliseconds; Infinity: as long as nothing changes). Throws `auth.invalid` for a wrong secret, and only then
 * says `auth.revoked` or `auth.expired`.
 */
export function goodUntil(row: ApiKeyRow, hash: Buffer, now: number): number {
  const isCurrent = sameHash(row.secretHash, hash);
  const overlapEnds = row.previousHash && sameHash(row.previousHash, hash) ? (row.previousUntil?.getTime() ?? 0) : null;
  if (!isCurrent && overlapEnds === null) throw new Problem('auth.invalid');
  if (row.revokedAt) throw new Problem('auth.revoked');
  const expiry = row.expiresAt?.getTime() ?? Infinity;
  const until = isCurrent ? expiry : Math.min(expiry, overlapEnds ?? 0);
  if (until <= now) throw new Problem('auth.expired');
  return until;
}

/** The row as the API shows it. */
export function toApiKey(row: ApiKeyRow): ApiKey {
  return {
    id: row.id,
    tenantId: row.tenantId,
    name: row.name,
    prefix: prefixOf(row.id),
    scopes: row.scopes as Scope[],
    ratePerSecond: row.ratePerSecond,
    concurrent: row.concurrent,
    createdAt: row.createdAt.toISOString(),
    expiresAt: row.expiresAt?.toISOString() ?? null,
    revokedAt: row.revokedAt?.toISOString() ?? null,
    lastUsedAt: row.lastUsedAt?.toISOString() ?? null,
  };
}
