import { StringDecoder } from 'node:string_decoder';
import type { SseEvent } from './sse';

/** An agent's output as server-sent events; a character that arrives in two pieces is sent whole. */
export async function* logEvents(source: AsyncIterable<Buffer>): AsyncGenerator<SseEvent> {
  const decoder = new StringDecoder('utf8');
  for await (const chunk of source) {
    const text = decoder.write(chunk);
    if (text !== '') yield { event: 'log', data: { text } };
  }
  const rest = decoder.end();
  if (rest !== '') yield { event: 'log', data: { text: rest } };
}
