import type { Readable } from 'node:stream';
import { Problem } from '@alcove/contracts';
import type { FastifyReply } from 'fastify';
import type { z } from 'zod';
import type { RoomAnswer } from './room-calls';

/** The most of a JSON answer of a host that is read into memory: a folder's listing is the longest. */
const jsonBytes = 16 << 20;

/** Tells the caller which room answered: whether it had to be woken, from where, and how long that took. */
export function tellRoute(reply: FastifyReply, { route }: RoomAnswer): void {
  void reply.headers({ 'alcove-room-state': 'running', 'alcove-resumed-from': route.resumedFrom ?? 'new', 'alcove-woken-ms': String(Math.round(route.wokenMs)) });
}

/** The headers whose names fit. */
export function pick(headers: Readonly<Record<string, string | string[] | undefined>>, allowed: RegExp): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) if (typeof value === 'string' && allowed.test(name)) picked[name] = value;
  return picked;
}

/** Passes the room's answer on as it comes: status, the headers whose names fit, bytes. */
export function passOn(reply: FastifyReply, answer: RoomAnswer, headers: RegExp): Readable {
  tellRoute(reply, answer);
  if (answer.status < 200 || answer.status > 599) throw new Problem('guest.protocol', { detail: `The agent answered with the status ${answer.status}.` });
  void reply.code(answer.status).headers(pick(answer.headers, headers));
  return answer.body;
}

/** Reads a whole answer of a host and checks it. Throws guest.protocol when it is not what was agreed. */
export async function readAnswer<S extends z.ZodType>(answer: RoomAnswer, schema: S): Promise<z.output<S>> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of answer.body as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > jsonBytes) throw new Problem('guest.protocol', { detail: 'An over-long answer.' });
    chunks.push(chunk);
  }
  try {
    return schema.parse(JSON.parse(Buffer.concat(chunks).toString('utf8')));
  } catch (cause) {
    throw new Problem('guest.protocol', { detail: 'An answer of another shape than agreed.', cause });
  }
}

/** Lets go of an answer whose body says nothing. */
export function dropBody(answer: RoomAnswer): void {
  answer.body.on('error', () => undefined);
  answer.body.resume();
}

/** A path below the incarnation, with the parameters that were given. */
export function pathWith(path: string, parameters: Readonly<Record<string, string | number | boolean | undefined>>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) query.set(name, String(value));
  return query.size === 0 ? path : `${path}?${query.toString()}`;
}
