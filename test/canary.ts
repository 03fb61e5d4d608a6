/** What the tests share that look for a user's own words where none may stand. */
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode } from '@alcove/base';
import { Client } from 'pg';

/** Every way in which a text is found: itself, base64 at each of the three offsets, hexadecimal. */
export function needles(text: string): string[] {
  const base64 = [0, 1, 2].map((shift) => Buffer.from(' '.repeat(shift) + text).toString('base64').slice(shift === 0 ? 0 : 4, -4));
  return [text, text.toUpperCase(), Buffer.from(text).toString('hex'), ...base64.filter((one) => one.length >= 6)];
}

/** Each row of each table of a database as its owner sees it, as text and with every bytea as latin1 too. */
export async function dump(ownerUrl: string): Promise<string> {
  const client = new Client({ connectionString: ownerUrl });
  await client.connect();
  try {
    const tables = await client.query<{ name: string }>(
      `select quote_ident(table_schema) || '.' || quote_ident(table_name) as name from information_schema.tables where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')`,
    );
    const parts: string[] = [];
    for (const { name } of tables.rows) {
      for (const row of (await client.query<Record<string, unknown>>(`select * from ${name}`)).rows) parts.push(...Object.values(row).flatMap(textsOf));
    }
    return parts.join('\n');
  } finally {
    await client.end();
  }
}

function textsOf(value: unknown): string[] {
  if (Buffer.isBuffer(value)) return [value.toString('latin1'), value.toString('hex')];
  return [typeof value === 'string' ? value : JSON.stringify(value) ?? ''];
}

export interface Found {
  /** Relative to the folder. */
  file: string;
  needle: string;
}

const chunkBytes = 8 * 1024 * 1024;
const overlap = 256;

/** Looks for these texts, of less than 256 bytes each, in the bytes of every regular file below a folder but for one part of it. What vanishes meanwhile is passed over. */
export async function searchFiles(folder: string, texts: readonly string[], but: string): Promise<{ files: number; found: Found[] }> {
  const wanted = texts.map((text) => ({ text, bytes: Buffer.from(text, 'latin1') }));
  const found: Found[] = [];
  let files = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || entry.parentPath.startsWith(join(folder, but))) continue;
    const path = join(entry.parentPath, entry.name);
    const left = new Set(wanted);
    try {
      for await (const part of partsOf(path)) {
        for (const one of left) {
          if (!part.includes(one.bytes)) continue;
          left.delete(one);
          found.push({ file: path.slice(folder.length + 1), needle: one.text });
        }
      }
      files += 1;
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error;
    }
  }
  return { files, found };
}

async function* partsOf(path: string): AsyncGenerator<Buffer> {
  const file = await open(path);
  const buffer = Buffer.alloc(overlap + chunkBytes);
  try {
    let kept = 0;
    for (;;) {
      const { bytesRead } = await file.read(buffer, kept, chunkBytes, null);
      if (bytesRead === 0) return;
      const part = buffer.subarray(0, kept + bytesRead);
      yield part;
      kept = Math.min(overlap, part.length);
      buffer.copyWithin(0, part.length - kept, part.length);
    }
  } finally {
    await file.close();
  }
}
