import { type Memory, MemoryKind, MemorySource, Problem } from '@alcove/contracts';
import { z } from 'zod';
import type { CatalogueEntry } from '../sealed/catalogue-store';
import type { Sealing } from '../sealed/sealing';

/** A record as one version of it is sealed: all but what the rows must show. Times are milliseconds since 1970. */
export interface MemoryRecord {
  readonly id: string;
  readonly version: number;
  readonly kind: MemoryKind;
  readonly state: 'live' | 'retired';
  readonly content: string;
  readonly title: string | null;
  readonly tags: readonly string[];
  readonly source: { readonly kind: MemorySource['kind']; readonly ref: string | null; readonly trust: MemorySource['trust'] };
  readonly confidence: number;
  readonly evidence: readonly string[];
  readonly supersedes: string | null;
  readonly label: string | null;
  readonly readOnly: boolean;
  readonly validFrom: number | null;
  readonly validTo: number | null;
  readonly expiresAt: number | null;
  readonly createdAt: number;
  readonly updatedAt: number;
}

const time = z.number().nullable();
/** Everything but the content, which is another field so that neither can take the other's place. */
const About = z.strictObject({
  kind: MemoryKind,
  state: z.enum(['live', 'retired']),
  title: z.string().nullable(),
  tags: z.array(z.string()),
  source: MemorySource.extend({ ref: z.string().nullable() }),
  confidence: z.number(),
  evidence: z.array(z.string()),
  supersedes: z.string().nullable(),
  label: z.string().nullable(),
  readOnly: z.boolean(),
  validFrom: time,
  validTo: time,
  expiresAt: time,
  createdAt: z.number(),
  updatedAt: z.number(),
});

export interface SealedRecord {
  readonly keyVersion: number;
  readonly content: Buffer;
  readonly about: Buffer;
}

export function sealRecord(sealing: Sealing, record: MemoryRecord): SealedRecord {
  const { id, version, content, ...about } = record;
  const sealedContent = sealing.sealText({ id, field: 'content', version }, content);
  return { keyVersion: sealedContent.keyVersion, content: sealedContent.bytes, about: sealing.sealText({ id, field: 'about', version }, JSON.stringify(About.parse(about))).bytes };
}

/** Problem `vault.corrupt`: a part is not of this record, this version or this user. */
export function openRecord(sealing: Sealing, row: { id: string; version: number; keyVersion: number; content: Uint8Array; about: Uint8Array }): MemoryRecord {
  const { id, version, keyVersion } = row;
  const about = About.safeParse(JSON.parse(sealing.openText({ id, field: 'about', version }, keyVersion, Buffer.from(row.about))));
  if (!about.success) throw new Problem('vault.corrupt', { detail: 'a record has not the form of one' });
  return { id, version, content: sealing.openText({ id, field: 'content', version }, keyVersion, Buffer.from(row.content)), ...about.data };
}

export function catalogueEntry(record: MemoryRecord): CatalogueEntry {
  const { version, kind, state, tags, label, createdAt, validFrom, validTo, expiresAt, source } = record;
  return { version, kind, state, trust: source.trust, tags, label, createdAt, validFrom, validTo, expiresAt };
}

/** What is looked up by words, and embedded. */
export function searchedText({ title, tags, content }: Pick<MemoryRecord, 'title' | 'tags' | 'content'>): string {
  return [title ?? '', tags.join(' '), content].filter((part) => part !== '').join('\n');
}

const iso = (at: number | null): string | null => (at === null ? null : new Date(at).toISOString());

export function toMemory(userId: string, record: MemoryRecord): Memory {
  const { tags, evidence, source, validFrom, validTo, expiresAt, createdAt, updatedAt, ...same } = record;
  return {
    ...same, userId, tags: [...tags], evidence: [...evidence], source: { ...source },
    validFrom: iso(validFrom), validTo: iso(validTo), expiresAt: iso(expiresAt), createdAt: new Date(createdAt).toISOString(), updatedAt: new Date(updatedAt).toISOString(),
  };
}

/** A time as the API takes it, in milliseconds. */
export const at = (given: string | null): number | null => (given === null ? null : Date.parse(given));
