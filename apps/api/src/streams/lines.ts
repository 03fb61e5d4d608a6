import { limits } from '@alcove/base';
import { Problem } from '@alcove/contracts';

/** A line is at most one frame of the channel in base64, and its wrapping. */
const lineBytes = 4 * limits.channel.frameBytes;
const lineFeed = 0x0a;

/** The lines of a stream of bytes, each at most `lineBytes` long. Throws guest.protocol when one is longer. */
export async function* linesOf(source: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of source) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (let end = rest.indexOf(lineFeed); end >= 0; end = rest.indexOf(lineFeed)) {
      yield rest.subarray(0, end).toString('utf8');
      rest = rest.subarray(end + 1);
    }
    if (rest.length > lineBytes) throw new Problem('guest.protocol', { detail: 'An over-long line.' });
  }
  if (rest.length > 0) throw new Problem('guest.closed', { detail: 'The stream ended inside a line.' });
}
