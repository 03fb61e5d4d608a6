import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Problem } from '@alcove/contracts';
import type { MemorySource, RoomSpec, Template } from '../../driver';
import type { PageContent } from '../../image/image-chunks';
import { type ImagePart, readImage } from '../../image/image-reader';
import { ReadAhead } from '../../image/pipeline';
import type { QemuContext } from './context';
import { compatibilityOf, type QemuEngine, whyNotRestorable } from './engine';
import { findMapping, pageBytes, PageWriter } from './pages';
import type { Vmm } from './vmm';

/** Opened parts of an image that may wait for their VMM. */
const readAheadBytes = 32 << 20;
const zeros = Buffer.alloc(256 * pageBytes);

/** Device state and pages on their way into a VMM. The first part is there already: what can be refused without a VMM has been. */
export interface MemoryParts {
  parts: AsyncIterable<ImagePart>;
  cancel(): Promise<void>;
}

/** Opens where a room's memory comes from. Problems: `image.*`. */
export async function openMemory(context: QemuContext, engine: QemuEngine, room: RoomSpec, source: MemorySource): Promise<MemoryParts> {
  const { manifest } = room.template;
  const why = whyNotRestorable(engine, manifest);
  if (why !== undefined) throw new Problem('image.incompatible', { detail: `the template's memory does not fit this host: ${why}` });
  if (source.kind === 'template') return { parts: templateState(room.template), cancel: () => Promise.resolve() };
  const { image } = source;
  if (image.roomId !== room.roomId) throw new Problem('image.wrong_room', { detail: `it belongs to ${image.roomId}` });
  if (image.templateId !== manifest.id || image.compatibility !== compatibilityOf(engine, manifest)) {
    throw new Problem('image.incompatible', { detail: 'it was made for another engine, template or size' });
  }
  const reader = readImage(context.layout.imagePath(room.roomId, image.id), image, room.keys.image);
  const first = await reader.next();
  const ahead = new ReadAhead(reader, readAheadBytes, sizeOf);
  return { parts: joined(first.done ? [] : [first.value], ahead), cancel: () => ahead.cancel() };
}

async function* templateState(template: Template): AsyncGenerator<ImagePart> {
  yield { kind: 'state', bytes: await readFile(join(template.folder, 'state')) };
}

async function* joined(first: ImagePart[], rest: AsyncIterable<ImagePart>): AsyncGenerator<ImagePart> {
  yield* first;
  yield* rest;
}

function sizeOf(part: ImagePart): number {
  if (part.kind === 'state') return part.bytes.length;
  return part.runs.reduce((sum, run) => sum + (run.data?.length ?? 0), 0);
}

/** Puts pages and device state into a VMM that waits for them. The guest does not run yet. */
export async function loadMemory(vmm: Vmm, template: Template, memory: MemoryParts): Promise<{ pages: number }> {
  const state: Buffer[] = [];
  let pages = 0;
  let writer: PageWriter | undefined;
  try {
    for await (const part of memory.parts) {
      if (part.kind === 'state') {
        state.push(part.bytes);
        continue;
      }
      writer ??= await PageWriter.open(await findMapping(vmm.identity.pid, join(template.folder, 'mem')));
      for (const run of part.runs) {
        await writeRun(writer, run);
        pages += run.count;
      }
    }
  } finally {
    await writer?.close();
  }
  await vmm.loadDeviceState(Buffer.concat(state));
  return { pages };
}

async function writeRun(writer: PageWriter, run: PageContent): Promise<void> {
  if (run.data) return writer.write({ first: run.first, data: run.data });
  const most = zeros.length / pageBytes;
  for (let done = 0; done < run.count; done += most) {
    await writer.write({ first: run.first + done, data: zeros.subarray(0, Math.min(most, run.count - done) * pageBytes) });
  }
}
