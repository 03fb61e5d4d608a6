import type { Clock } from '@alcove/base';
import { KeyUnavailable } from './key-provider';

/** The part of `fetch` that providers use. */
export type HttpFetch = (url: string, init: HttpInit) => Promise<Response>;
export interface HttpInit {
  method: 'GET' | 'POST';
  headers: Record<string, string>;
  body?: string;
  signal: AbortSignal;
  redirect: 'manual';
}

export interface HttpCall {
  /** What is asked, for the error's text: no secrets. */
  what: string;
  /** Made anew for each attempt, because a signature carries the time. */
  request(): Promise<{ url: string; method: 'GET' | 'POST'; headers: Record<string, string>; body?: string }>;
  /** Whether an answer says that the same request may succeed soon. */
  transient(answer: HttpAnswer): boolean;
}

export interface HttpAnswer {
  status: number;
  /** The body when it is JSON; otherwise undefined. */
  body: unknown;
}

export interface HttpClient {
  clock: Clock;
  fetch: HttpFetch;
}

/** One request of a key provider: milliseconds for an attempt, attempts, milliseconds between them, bytes of an answer. */
export const httpBounds = { attemptMs: 3_000, pausesMs: [100, 400], answerBytes: 64 << 10 } as const;

/**
 * Asks a provider over HTTP. Every request of ours may be repeated without harm, so what is transient (no connection, no answer in time, or as the call says) is tried
 * three times; then, and for an answer that is too long, it is a KeyUnavailable `unreachable`. Redirects are not followed: they would carry the credentials elsewhere.
 */
export async function callProvider(client: HttpClient, call: HttpCall): Promise<HttpAnswer> {
  for (let attempt = 0; ; attempt++) {
    const pause = httpBounds.pausesMs[attempt];
    try {
      const answer = await attemptOnce(client, call);
      if (!call.transient(answer)) return answer;
      if (pause === undefined) throw new KeyUnavailable('unreachable', `${call.what}: the provider answers ${answer.status}`);
    } catch (error) {
      if (error instanceof KeyUnavailable || pause === undefined) throw asUnreachable(call.what, error);
    }
    await client.clock.sleep(pause);
  }
}

async function attemptOnce({ clock, fetch: send }: HttpClient, call: HttpCall): Promise<HttpAnswer> {
  const { url, ...request } = await call.request();
  const abort = new AbortController();
  const answered = new AbortController();
  // The clock's own timer, so that time is the caller's; it ends with the answer.
  clock.sleep(httpBounds.attemptMs, answered.signal).then(
    () => abort.abort(new Error('no answer in time')),
    () => undefined,
  );
  try {
    const response = await send(url, { ...request, signal: abort.signal, redirect: 'manual' });
    return { status: response.status, body: parseJson(await readBounded(call.what, response)) };
  } finally {
    answered.abort();
  }
}

async function readBounded(what: string, response: Response): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of response.body ?? []) {
    bytes += part.length;
    if (bytes > httpBounds.answerBytes) throw new KeyUnavailable('unreachable', `${what}: the provider answers with more than ${httpBounds.answerBytes} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8')) as unknown;
  } catch {
    return undefined;
  }
}

function asUnreachable(what: string, error: unknown): KeyUnavailable {
  return error instanceof KeyUnavailable ? error : new KeyUnavailable('unreachable', `${what}: the provider does not answer`, error);
}
