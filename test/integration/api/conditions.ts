import { systemClock } from '@alcove/base';

const everyMs = 10;
const giveUpMs = 20_000;

/** Waits for a condition, and says what it waited for when it does not come. */
export async function until<T>(what: string, ask: () => Promise<T | undefined | null | false> | T | undefined | null | false): Promise<T> {
  const deadline = systemClock.monotonic() + giveUpMs;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (systemClock.monotonic() > deadline) throw new Error(`waited in vain: ${what}`);
    await systemClock.sleep(everyMs);
  }
}

export interface SseMessage {
  readonly id: string | undefined;
  readonly event: string;
  readonly data: unknown;
}

/** The events of a text/event-stream answer, as they come; comments are left out. */
export async function* eventsOf(answer: Response): AsyncGenerator<SseMessage> {
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) {
    text += decoder.decode(chunk, { stream: true });
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const fields = new Map(text.slice(0, end).split('\n').map((line): [string, string] => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trimStart()]));
      text = text.slice(end + 2);
      const data = fields.get('data');
      if (data !== undefined) yield { id: fields.get('id'), event: fields.get('event') ?? 'message', data: JSON.parse(data) };
    }
  }
}

/** The first `count` events of a stream, which is then left. */
export async function firstEvents(answer: Response, count: number): Promise<SseMessage[]> {
  const events: SseMessage[] = [];
  for await (const event of eventsOf(answer)) {
    events.push(event);
    if (events.length === count) break;
  }
  return events;
}
