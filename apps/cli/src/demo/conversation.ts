import { z } from 'zod';
import type { ApiClient } from '../api-client';
import type { Stage } from './stage';

const Reply = z.looseObject({ reply: z.string(), counter: z.int().optional(), nonce: z.string().optional(), content: z.string().optional(), notes: z.array(z.unknown()).optional() });
/** What the default agent answers: words for a person, and the same in fields. */
export type Reply = z.infer<typeof Reply>;

export interface Heard {
  reply: Reply;
  /** From sending the message to having read the whole answer. */
  ms: number;
  /** Where the room's memory came from when this message woke it; null when it was awake. */
  resumedFrom: string | null;
  wokenMs: number | null;
}

/** One message to the agent in a room. Throws what the client throws, and when the answer is not one of the default agent. */
export async function ask(client: ApiClient, roomId: string, prompt: string): Promise<Heard> {
  const started = performance.now();
  const answer = await client.invoke(roomId, { prompt });
  return { reply: Reply.parse(answer.body), ms: performance.now() - started, resumedFrom: answer.resumedFrom, wokenMs: answer.wokenMs };
}

/** The same, shown on the stage word by word as it streams in. Returns when the first byte of the answer came and when the last. */
export async function askAloud(stage: Stage, client: ApiClient, roomId: string, user: string, prompt: string): Promise<{ firstMs: number; ms: number; parts: number; text: string }> {
  stage.said(user, prompt);
  const started = performance.now();
  let firstMs = 0;
  let parts = 0;
  let text = '';
  const more = stage.saying('room');
  for await (const event of client.converse(roomId, { prompt })) {
    if (parts === 0) firstMs = performance.now() - started;
    const part = JSON.parse(event.data) as { type?: string; text?: string };
    if (part.type !== 'text' || part.text === undefined) continue;
    parts++;
    text += part.text;
    more(part.text);
  }
  more(null);
  return { firstMs, ms: performance.now() - started, parts, text };
}
