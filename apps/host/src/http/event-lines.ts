import { isProblem } from '@alcove/contracts';
import { type Exchange, writeWithPressure } from './answer';

/**
 * Answers with lines of JSON, one per event, as they come. A failure before the first one is a problem; a later one is an `error` event at the end.
 * `events` is given the signal that ends with the caller and with the room.
 */
export async function sendLines(exchange: Exchange, events: (signal: AbortSignal) => AsyncIterable<unknown>, ended: AbortSignal): Promise<void> {
  const { response } = exchange;
  const signal = AbortSignal.any([exchange.gone, ended]);
  try {
    for await (const event of events(signal)) {
      if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
      await writeWithPressure(response, `${JSON.stringify(event)}\n`, signal);
    }
  } catch (error) {
    if (!response.headersSent || exchange.gone.aborted) throw error;
    const { code, detail } = isProblem(error) ? error : { code: 'guest.io' as const, detail: undefined };
    response.write(`${JSON.stringify({ event: 'error', code, ...(detail === undefined ? {} : { detail }) })}\n`);
  }
  response.end();
}
