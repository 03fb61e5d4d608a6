import { Problem } from '@alcove/contracts';

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** One question to a tenant's OpenAI-compatible server. Texts go out in plain; nothing of them, nor of the answer, is logged or part of an error. */
export interface EndpointCall {
  readonly fetcher: Fetch;
  /** Of the server; `path` is put behind it. */
  readonly baseUrl: string;
  readonly path: 'embeddings' | 'chat/completions';
  /** Null: none is sent. */
  readonly apiKey: string | null;
  readonly body: object;
  readonly timeoutMs: number;
  readonly answerBytes: number;
  /** The problem of this endpoint: its detail says what was given in place of an answer. */
  readonly wrong: (what: string, cause?: unknown) => Problem;
}

/** The JSON that it answers with, of whatever form. No redirect is followed. */
export async function askEndpoint({ fetcher, baseUrl, path, apiKey, body, timeoutMs, answerBytes, wrong }: EndpointCall): Promise<unknown> {
  const headers = { 'content-type': 'application/json', accept: 'application/json', ...(apiKey === null ? {} : { authorization: `Bearer ${apiKey}` }) };
  const init = { method: 'POST', headers, body: JSON.stringify(body), redirect: 'error' as const, signal: AbortSignal.timeout(timeoutMs) };
  const answer = await fetcher(`${baseUrl.replace(/\/$/, '')}/${path}`, init).catch((cause: unknown) => {
    throw wrong('no answer', cause);
  });
  if (!answer.ok) {
    await answer.body?.cancel();
    throw wrong(`status ${answer.status}`);
  }
  const text = await readBounded(answer, answerBytes, wrong);
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw wrong('no JSON', cause);
  }
}

/** Stops reading at the bound, whatever the length that was announced. */
async function readBounded(answer: Response, bytes: number, wrong: EndpointCall['wrong']): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const chunk of answer.body ?? []) {
      length += chunk.length;
      if (length > bytes) throw wrong('an answer too large');
      chunks.push(chunk);
    }
  } catch (cause) {
    throw cause instanceof Problem ? cause : wrong('an answer that ended early', cause);
  }
  return Buffer.concat(chunks).toString('utf8');
}
