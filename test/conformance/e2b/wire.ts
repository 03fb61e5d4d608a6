/** E2B's protocol without its SDK: Connect's JSON, framed and not, and plain HTTP, for what the SDK never sends. */
import { request } from 'node:https';
import type { Sandbox } from 'e2b';

export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
}

export const tokenOf = (sandbox: Sandbox): string => (sandbox as unknown as { envdAccessToken: string }).envdAccessToken;
export const surfaceOf = (sandbox: Sandbox): string => `https://${sandbox.getHost(49983)}`;

export interface Asked {
  method?: string;
  headers?: Record<string, string>;
  body?: Buffer | string;
}

/** One HTTP/1.1 request, headers as they are given; its certificate must be good. */
export function ask(url: string, { method = 'GET', headers = {}, body }: Asked = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, headers, agent: false }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('error', reject);
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(chunks) }));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

/** A unary call. */
export async function call(sandbox: Sandbox, method: string, message: unknown, headers: Record<string, string> = {}): Promise<{ status: number; body: Record<string, unknown> }> {
  const { status, body } = await ask(`${surfaceOf(sandbox)}/${method}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'connect-protocol-version': '1', 'x-access-token': tokenOf(sandbox), ...headers },
    body: JSON.stringify(message),
  });
  return { status, body: JSON.parse(body.toString() || '{}') as Record<string, unknown> };
}

/** One message as a stream carries it: a byte of flags, four of length, then JSON. */
export function frame(message: unknown, flags = 0): Buffer {
  const json = Buffer.from(JSON.stringify(message));
  const head = Buffer.alloc(5);
  head.writeUInt8(flags, 0);
  head.writeUInt32BE(json.length, 1);
  return Buffer.concat([head, json]);
}

export interface Framed {
  flags: number;
  message: Record<string, unknown>;
}

/** The messages in a whole body; throws where it does not end with a message. */
export function framesOf(body: Buffer): Framed[] {
  const found: Framed[] = [];
  for (let at = 0; at < body.length; ) {
    const length = body.readUInt32BE(at + 1);
    if (at + 5 + length > body.length) throw new Error('the body ends inside a message');
    found.push({ flags: body.readUInt8(at), message: JSON.parse(body.subarray(at + 5, at + 5 + length).toString()) as Record<string, unknown> });
    at += 5 + length;
  }
  return found;
}

export interface Stream extends AsyncIterable<Framed> {
  /** Hangs up. */
  end(): void;
}

/** A call that is answered with a stream, over HTTP/1.1; rejects when the answer is none. Its iteration throws when the connection breaks. */
export function stream(sandbox: Sandbox, method: string, message: unknown, headers: Record<string, string> = {}): Promise<Stream> {
  return new Promise((resolve, reject) => {
    const sent = request(
      `${surfaceOf(sandbox)}/${method}`,
      { method: 'POST', agent: false, headers: { 'content-type': 'application/connect+json', 'connect-protocol-version': '1', 'x-access-token': tokenOf(sandbox), ...headers } },
      (answer) => {
        async function* messages(): AsyncGenerator<Framed> {
          let rest: Buffer = Buffer.alloc(0);
          for await (const chunk of answer as AsyncIterable<Buffer>) {
            rest = Buffer.concat([rest, chunk]);
            while (rest.length >= 5 && rest.length >= 5 + rest.readUInt32BE(1)) {
              const end = 5 + rest.readUInt32BE(1);
              yield* framesOf(rest.subarray(0, end));
              rest = rest.subarray(end);
            }
          }
        }
        resolve({ [Symbol.asyncIterator]: messages, end: () => void answer.destroy() });
      },
    );
    sent.on('error', reject);
    sent.end(frame(message));
  });
}
