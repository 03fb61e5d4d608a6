import { Readable } from 'node:stream';
import { Problem } from '@alcove/contracts';

/** The same bytes, counted: fails with `request.too_large` beyond the bound, and calls `moved` for each piece. Reads no faster than it is read. */
export function countedBody(body: Readable, bytesMax: number, moved: () => void = () => undefined): Readable {
  return Readable.from(count(body, bytesMax, moved), { objectMode: false });
}

async function* count(body: Readable, bytesMax: number, moved: () => void): AsyncGenerator<Buffer> {
  let bytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new Problem('request.too_large');
    moved();
    yield chunk;
  }
}
