import { MemorySource, Problem, type TrustLabel } from '@alcove/contracts';
import type { SqlTx } from '@alcove/db';
import type { KeyOwner } from '@alcove/keys';
import { z } from 'zod';
import type { MemoryUnit } from '../memory-unit';
import type { Sealed, Sealing } from '../sealed/sealing';

/** What was said: one field, sealed whole. An event is written once, so its version is always 1. */
const Said = z.strictObject({ session: z.string(), role: z.enum(['user', 'assistant', 'tool', 'system']), content: z.string(), source: MemorySource.extend({ ref: z.string().nullable() }) });
export type Said = z.infer<typeof Said>;

export interface EventRow {
  id: string;
  keyVersion: number;
  sealed: Uint8Array;
  createdAt: Date;
  expiresAt: Date;
}

const place = (id: string) => ({ id, field: 'event', version: 1 });

export function sealEvent(sealing: Sealing, id: string, said: Said): Sealed {
  return sealing.sealText(place(id), JSON.stringify(Said.parse(said)));
}

/** Problem `vault.corrupt`. */
export function openEvent(sealing: Sealing, row: Pick<EventRow, 'id' | 'keyVersion' | 'sealed'>): Said {
  const said = Said.safeParse(JSON.parse(sealing.openText(place(row.id), row.keyVersion, Buffer.from(row.sealed))));
  if (!said.success) throw new Problem('vault.corrupt', { detail: 'an event has not the form of one' });
  return said.data;
}

/** What a session is looked up by. */
export const sessionTag = (sealing: Sealing, keyVersion: number, session: string): Buffer => sealing.blind(keyVersion, ['session', session]);

/** The labels of those that there are. */
export async function eventTrust(unit: MemoryUnit, ids: readonly string[]): Promise<Map<string, TrustLabel>> {
  if (ids.length === 0) return new Map();
  const { tenantId, userId } = unit.owner;
  const rows = await unit.tx.$queryRaw<EventRow[]>`
    select id, key_version as "keyVersion", sealed from memory_event where tenant_id = ${tenantId}::uuid and user_id = ${userId} and id = any(${ids}::text[])`;
  return unit.withSealing((sealing) => new Map(rows.map((row) => [row.id, openEvent(sealing, row).source.trust])));
}

export interface NewEvent {
  id: string;
  session: Buffer;
  sealed: Sealed;
  request: Buffer | null;
  createdAt: number;
  expiresAt: number;
}

export async function insertEvent(tx: SqlTx, { tenantId, userId }: KeyOwner, event: NewEvent): Promise<void> {
  await tx.$executeRaw`
    insert into memory_event (tenant_id, user_id, id, session, key_version, sealed, request, created_at, expires_at)
    values (${tenantId}::uuid, ${userId}, ${event.id}, ${event.session}, ${event.sealed.keyVersion}, ${event.sealed.bytes}, ${event.request},
      ${new Date(event.createdAt)}::timestamptz, ${new Date(event.expiresAt)}::timestamptz)`;
}

export async function countEvents(tx: SqlTx, { tenantId, userId }: KeyOwner): Promise<number> {
  const [row] = await tx.$queryRaw<{ events: string }[]>`select count(*) as events from memory_event where tenant_id = ${tenantId}::uuid and user_id = ${userId}`;
  return Number(row?.events ?? 0);
}

/** The newest first; `sessions`: the tags that one session has under the versions of the key. */
export async function pageOfEvents(tx: SqlTx, { tenantId, userId }: KeyOwner, sessions: Buffer[] | null, after: { createdAt: Date; id: string } | null, limit: number): Promise<EventRow[]> {
  return tx.$queryRaw<EventRow[]>`
    select id, key_version as "keyVersion", sealed, created_at as "createdAt", expires_at as "expiresAt" from memory_event
    where tenant_id = ${tenantId}::uuid and user_id = ${userId} and (${sessions}::bytea[] is null or session = any(${sessions}::bytea[]))
      and (${after?.id ?? null}::text is null or (created_at, id) < (${after?.createdAt ?? null}::timestamptz, ${after?.id ?? null}::text))
    order by created_at desc, id desc limit ${limit}::int`;
}

export async function keyVersionsOfEvents(tx: SqlTx, { tenantId, userId }: KeyOwner): Promise<number[]> {
  const rows = await tx.$queryRaw<{ keyVersion: number }[]>`select distinct key_version as "keyVersion" from memory_event where tenant_id = ${tenantId}::uuid and user_id = ${userId}`;
  return rows.map(({ keyVersion }) => keyVersion);
}
