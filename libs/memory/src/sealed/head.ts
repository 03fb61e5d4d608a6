import { Problem } from '@alcove/contracts';
import type { SqlTx } from '@alcove/db';
import type { KeyOwner } from '@alcove/keys';
import { z } from 'zod';
import type { Sealed, Sealing } from './sealing';

/** Of one stream: the sum of what is sealed in it now, and how it lies. */
export interface StreamState {
  /** XOR of the MACs of every loose entry and every segment. */
  digest: Buffer;
  /** Loose entries, removed ones included. */
  loose: number;
  segments: number;
  /** Entries in the last segment. */
  tail: number;
  /** The write at which loose entries were last put into segments: who has seen less reads all anew. */
  floor: number;
}

/**
 * What is true of a user's memory as a whole. The digests are sealed together with the number of the write, so that neither an old row nor an old segment can be put
 * back without being noticed: only everything at once can, this row included.
 */
export interface Head {
  seq: number;
  records: number;
  bytes: number;
  /** Of the user's key, for the MACs in the digests. */
  keyVersion: number;
  streams: Map<string, StreamState>;
}

export interface HeadRow {
  seq: number;
  records: number;
  bytes: number;
  keyVersion: number;
  sealed: Uint8Array;
}

/** `keyVersion`: that of the MACs in the digests, which may be older than the one that the row is sealed under. */
const Digests = z.strictObject({ keyVersion: z.int(), streams: z.record(z.string(), z.strictObject({ digest: z.base64().transform((text) => Buffer.from(text, 'base64')), loose: z.int(), segments: z.int(), tail: z.int(), floor: z.int() })) });
const place = (seq: number) => ({ id: 'head', field: 'digests', version: seq });

export const newState = (): StreamState => ({ digest: Buffer.alloc(32), loose: 0, segments: 0, tail: 0, floor: 0 });
export const newHead = (keyVersion: number): Head => ({ seq: 0, records: 0, bytes: 0, keyVersion, streams: new Map() });

/** The stream's state, made when there is none. */
export function stateOf(head: Head, stream: string): StreamState {
  const known = head.streams.get(stream);
  if (known) return known;
  const made = newState();
  head.streams.set(stream, made);
  return made;
}

/** Null: nothing was ever written. `share` and `update` wait for whoever writes, and keep others from it until the transaction ends. */
export async function readHead(tx: SqlTx, { tenantId, userId }: KeyOwner, lock: 'none' | 'share' | 'update'): Promise<HeadRow | null> {
  type Read = Omit<HeadRow, 'seq' | 'bytes'> & { seq: string; bytes: string };
  const select = (): PromiseLike<Read[]> => {
    if (lock === 'update') return tx.$queryRaw<Read[]>`select seq, records, bytes, key_version as "keyVersion", sealed from memory_head where tenant_id = ${tenantId}::uuid and user_id = ${userId} for update`;
    if (lock === 'share') return tx.$queryRaw<Read[]>`select seq, records, bytes, key_version as "keyVersion", sealed from memory_head where tenant_id = ${tenantId}::uuid and user_id = ${userId} for share`;
    return tx.$queryRaw<Read[]>`select seq, records, bytes, key_version as "keyVersion", sealed from memory_head where tenant_id = ${tenantId}::uuid and user_id = ${userId}`;
  };
  const [row] = await select();
  return row ? { ...row, seq: Number(row.seq), bytes: Number(row.bytes) } : null;
}

/** Problem `memory.rolled_back`: the row is not as it was written. */
export function openHead(sealing: Sealing, row: HeadRow): Head {
  const plain = sealing.open('memory.content', place(row.seq), row.keyVersion, Buffer.from(row.sealed));
  const digests = Digests.safeParse(JSON.parse(plain.toString('utf8')));
  if (!digests.success) throw new Problem('vault.corrupt', { detail: 'the head of a memory has not the form of one' });
  return { seq: row.seq, records: row.records, bytes: row.bytes, keyVersion: digests.data.keyVersion, streams: new Map(Object.entries(digests.data.streams)) };
}

export function sealHead(sealing: Sealing, head: Head): Sealed {
  const streams = Object.fromEntries([...head.streams].map(([name, state]) => [name, { ...state, digest: state.digest.toString('base64') }]));
  return sealing.seal('memory.content', place(head.seq), Buffer.from(JSON.stringify({ keyVersion: head.keyVersion, streams })));
}

export async function saveHead(tx: SqlTx, { tenantId, userId }: KeyOwner, head: Head, sealed: Sealed): Promise<void> {
  await tx.$executeRaw`
    insert into memory_head (tenant_id, user_id, seq, records, bytes, key_version, sealed)
    values (${tenantId}::uuid, ${userId}, ${head.seq}, ${head.records}, ${head.bytes}, ${sealed.keyVersion}, ${sealed.bytes})
    on conflict (tenant_id, user_id) do update set seq = excluded.seq, records = excluded.records, bytes = excluded.bytes, key_version = excluded.key_version, sealed = excluded.sealed`;
}
