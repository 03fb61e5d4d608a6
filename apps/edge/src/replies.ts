import { STATUS_CODES } from 'node:http';

/** The edge's own answers, in the words that the published SDKs and their users know. Pure. */
export interface Reply {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>> & { readonly message: string };
  readonly headers?: Readonly<Record<string, string>>;
  /** What clients of the Connect protocol are told instead: by the status alone they take 429 and 503 for a room that does not run. */
  readonly rpc?: 'resource_exhausted' | 'unavailable';
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
  slowBody: () => reply(408, 'The body did not come in time'),
  /** A host name that this edge does not serve: a client that reused a connection for it opens another one (RFC 9110 §15.5.20). */
  foreignHost: (host: string, domain: string) => reply(421, `${host} is not served here, only names below ${domain}: check E2B_DOMAIN`),
  notThisMachine: () => reply(421, 'This listener is for names of this machine only, such as localhost'),
  nothing: (host: string, domain: string) => reply(404, `There is nothing of the name ${host} here, only api.${domain} and <port>-<sandbox id>.${domain}: check E2B_DOMAIN and the sandbox id`),
  controlRoute: () => reply(404, 'There is no such route'),
  method: () => reply(405, 'This method is not taken'),
  apiAway: () => reply(502, 'The API cannot be reached'),
  busy: () => crowded(503, 'Too many requests at once', {}),
  busyAddress: () => crowded(429, 'Too many requests at once from this address', {}),
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
  cannotNow: (sandboxId: string, reason: string): Reply => ({ ...reply(503, 'The sandbox cannot be reached right now', { sandboxId, reason }, { 'retry-after': '1' }), rpc: 'unavailable' }),
  /** `reason`: whose bound was reached. */
  tooMany: (sandboxId: string, reason: keyof typeof bounds) => crowded(429, `Too many ${bounds[reason]} at once`, { sandboxId, reason }),
} as const;

function crowded(status: number, message: string, more: Record<string, unknown>): Reply {
  return { ...reply(status, message, more, { 'retry-after': '1' }), rpc: 'resource_exhausted' };
}

const bounds = { sandbox: 'requests to this sandbox', ports: 'connections to ports of this sandbox, or of all on its host,', host: "requests to this sandbox's host" };

/** True when a person is to read the answer: HTML is asked for by name, and JSON is not. */
export function wantsPage(accept: string | undefined): boolean {
  return /(^|[,\s])text\/html\b/i.test(accept ?? '') && !/application\/json/i.test(accept ?? '');
}

/** In which form an answer of ours is wanted: JSON, a page, or one of the two of the Connect protocol (https://connectrpc.com/docs/protocol). */
export type Form = 'json' | 'page' | 'unary' | 'stream';

export function formOf(method: string | undefined, target: string, { accept, 'content-type': type }: { accept?: string | undefined; 'content-type'?: string | undefined }): Form {
  const media = (type ?? '').split(';', 1)[0]?.trim().toLowerCase();
  const isCall = method === 'POST' && /^\/\w+(\.\w+)+\/\w+$/.test(target);
  if (isCall && media === 'application/connect+json') return 'stream';
  if (isCall && media === 'application/json') return 'unary';
  return wantsPage(accept) ? 'page' : 'json';
}

/** Status, headers and body of an answer of ours. */
export function rendered(answer: Reply, form: Form): { status: number; headers: string[]; bytes: Buffer } {
  const { status, type, bytes } = shaped(answer, form);
  const fixed = { 'content-type': type, 'content-length': String(bytes.length), 'cache-control': 'no-store' };
  return { status, headers: Object.entries({ ...fixed, ...answer.headers }).flat(), bytes };
}

function shaped({ status, body, rpc }: Reply, form: Form): { status: number; type: string; bytes: Buffer } {
  if (form === 'page') return { status, type: 'text/html; charset=utf-8', bytes: Buffer.from(pageOf(status, body)) };
  const error = Buffer.from(JSON.stringify(form === 'stream' ? { error: { code: rpc, message: body.message } } : { ...body, code: rpc }));
  // A streamed answer is 200 whatever it says; its end tells.
  if (rpc && form === 'stream') return { status: 200, type: 'application/connect+json', bytes: Buffer.concat([Buffer.from([2]), uint32(error.length), error]) };
  if (rpc && form === 'unary') return { status, type: 'application/json', bytes: error };
  return { status, type: 'application/json', bytes: Buffer.from(JSON.stringify(body)) };
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
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
