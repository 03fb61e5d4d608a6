import { STATUS_CODES } from 'node:http';

/** The edge's own answers, in the words that the published SDKs and their users know. Pure. */
export interface Reply {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>> & { readonly message: string };
  readonly headers?: Readonly<Record<string, string>>;
}

/** Thrown to end a request with an answer of our own. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  constructor(
    readonly reply: Reply,
    cause?: unknown,
  ) {
    super(reply.body.message, cause === undefined ? undefined : { cause });
  }
}

function reply(status: number, message: string, more: Record<string, unknown> = {}, headers: Record<string, string> = {}): Reply {
  return { status, body: { ...more, message, code: status }, headers };
}

export const replies = {
  badRequest: (message: string) => reply(400, message),
  /** A host name that this edge does not serve: a client that reused a connection for it opens another one (RFC 9110 §15.5.20). */
  foreignHost: () => reply(421, 'This host is not served here'),
  nothing: () => reply(404, 'There is nothing of that name here'),
  controlRoute: () => reply(404, 'There is no such route'),
  method: () => reply(405, 'This method is not taken'),
  apiAway: () => reply(502, 'The API cannot be reached'),
  busy: () => reply(503, 'Too many requests at once', {}, { 'retry-after': '1' }),
  internal: () => reply(500, 'Something went wrong here'),
  foreignOrigin: () => reply(403, 'Pages of other sites have no business here'),
  headersTooLarge: () => reply(431, 'The request is too long'),

  /** What tells the SDK that a room does not run. `reason`: why it ended, where that is known. */
  notFound: (sandboxId: string, reason: string | null = null) => reply(502, 'The sandbox was not found', { sandboxId, ...(reason !== null && { reason }) }),
  portClosed: (sandboxId: string, port: number) => reply(502, 'The sandbox is running but port is not open', { sandboxId, port }),
  noAnswer: (sandboxId: string, port: number) => reply(502, 'The sandbox is running but the port gave no answer', { sandboxId, port }),
  moving: (sandboxId: string) => reply(409, 'The sandbox is transitioning between states: try again in a moment', { sandboxId }, { 'retry-after': '1' }),
  /** Exactly these two fields: clients compare it. */
  unauthorized: (message: string): Reply => ({ status: 401, body: { code: 401, message } }),
  trafficToken: (sandboxId: string, given: boolean) =>
    reply(403, `The sandbox is secured with a traffic access token: the header e2b-traffic-access-token ${given ? 'does not match' : 'is missing'}`, { sandboxId }),
  resumeDenied: (sandboxId: string, reason: string) => reply(403, 'The sandbox may not be resumed', { sandboxId, reason }),
  cannotNow: (sandboxId: string, reason: string) => reply(503, 'The sandbox cannot be reached right now', { sandboxId, reason }, { 'retry-after': '1' }),
  tooMany: (sandboxId: string) => reply(429, 'Too many requests at once for this sandbox', { sandboxId }, { 'retry-after': '1' }),
} as const;

/** True when a person is to read the answer: HTML is asked for by name, and JSON is not. */
export function wantsPage(accept: string | undefined): boolean {
  return /(^|[,\s])text\/html\b/i.test(accept ?? '') && !/application\/json/i.test(accept ?? '');
}

/** Status, headers and body of an answer of ours. */
export function rendered({ status, body, headers = {} }: Reply, page: boolean): { status: number; headers: string[]; bytes: Buffer } {
  const bytes = Buffer.from(page ? pageOf(status, body) : JSON.stringify(body));
  const fixed = { 'content-type': page ? 'text/html; charset=utf-8' : 'application/json', 'content-length': String(bytes.length), 'cache-control': 'no-store' };
  return { status, headers: Object.entries({ ...fixed, ...headers }).flat(), bytes };
}

const pageHead = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><style>body{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;padding:0 1em;color:#222}code{color:#666}</style>';

function pageOf(status: number, { message, sandboxId, reason }: Reply['body']): string {
  const title = escaped(`${status} ${STATUS_CODES[status] ?? ''}`.trim());
  const about = [sandboxId, reason].filter((text) => typeof text === 'string').map((text) => `<p><code>${escaped(String(text))}</code></p>`);
  return `${pageHead}<title>${title}</title><h1>${escaped(message)}</h1>${about.join('')}<p><code>${title}</code></p></html>\n`;
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
