import { limits } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import { exportBytesMax, sealExport, wipe } from '@alcove/vault';
import { logAccess } from './access-log';
import type { MemoryCaller } from './caller';
import type { Events } from './events/events';
import type { MemoryParts } from './parts';
import type { Records } from './records/records';

/**
 * Everything that is stored of a memory, as JSON lines: `{"memory": …}` per record, the newest first, `{"versions": …}` after one that has been changed, then `{"event": …}` per event, then `{"end":
 * true}`. Read page by page, so that what is written meanwhile may or may not be in it.
 */
export async function* exportLines(parts: MemoryParts, records: Records, events: Events, caller: MemoryCaller): AsyncIterable<string> {
  const line = (value: object): string => `${JSON.stringify(value)}\n`;
  const page = { limit: limits.page.max };
  await parts.units.reading(caller, ({ tx }) => logAccess(tx, caller, 'export', 0, parts.clock.now()));
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const found = await records.list(caller, { ...page, ...(cursor === undefined ? {} : { cursor }) });
    for (const memory of found.memories) {
      yield line({ memory });
      if (memory.version > 1) yield line({ versions: (await records.history(caller, memory.id)).versions.slice(1) });
    }
    cursor = found.nextCursor;
  }
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const found = await events.list(caller, { ...page, ...(cursor === undefined ? {} : { cursor }) });
    for (const event of found.events) yield line({ event });
    cursor = found.nextCursor;
  }
  yield line({ end: true });
}

/** Holds all of it in RAM while it seals, and overwrites that. Now: wall clock, milliseconds. */
export async function sealedExport(lines: AsyncIterable<string>, certificatePem: string, now: number): Promise<Buffer> {
  // Before anything is read: a certificate that will be refused at the end.
  await sealExport(Buffer.alloc(0), certificatePem, now);
  const parts: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const line of lines) {
      const part = Buffer.from(line);
      parts.push(part);
      bytes += part.length;
      if (bytes > exportBytesMax) throw new Problem('request.too_large', { detail: `a sealed export has at most ${exportBytesMax} bytes: take the plain one` });
    }
    const content = Buffer.concat(parts);
    return await sealExport(content, certificatePem, now).finally(() => wipe(content));
  } finally {
    for (const part of parts) wipe(part);
  }
}
