import type { IncomingMessage, ServerResponse } from 'node:http';
import { limits } from '@alcove/base';
import { readBytes } from '../http/answer';
import { SurfaceError } from './surface-error';

/** Flags of an envelope (https://connectrpc.com/docs/protocol#streaming-response). */
export const flag = { compressed: 1, end: 2 } as const;
const headBytes = 5;

export type CallKind = 'unary' | 'stream';

/** True for the content type of a call with a streamed answer. */
export function isStream(contentType: string | undefined): boolean {
  return mediaType(contentType) === 'application/connect+json';
}

function mediaType(contentType: string | undefined): string | undefined {
  return (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase();
}

/** Which of the two JSON forms a call is in. Only JSON is spoken: anything else is refused with 415, as the protocol wants. */
export function kindOf(contentType: string | undefined): CallKind {
  if (mediaType(contentType) === 'application/json') return 'unary';
  if (isStream(contentType)) return 'stream';
  throw new SurfaceError('unknown', 'only JSON is spoken here: application/json, or application/connect+json for a stream', 415);
}

/** One message in its envelope: a byte of flags, the length, JSON. */
export function envelope(flags: number, message: unknown): Buffer {
  const json = Buffer.from(JSON.stringify(message));
  const head = Buffer.alloc(headBytes);
  head.writeUInt8(flags, 0);
  head.writeUInt32BE(json.length, 1);
  return Buffer.concat([head, json]);
}

/** The one message that a call with a streamed answer begins with. Throws SurfaceError for anything that is not exactly that. */
export function openEnvelope(body: Buffer): unknown {
  if (body.length < headBytes) throw new SurfaceError('invalid_argument', 'the body ends before its envelope does');
  const flags = body.readUInt8(0);
  if (flags & flag.compressed) throw new SurfaceError('unimplemented', 'compressed messages are not taken');
  if (flags !== 0) throw new SurfaceError('invalid_argument', 'a message with unknown flags');
  const length = body.readUInt32BE(1);
  if (length > body.length - headBytes) throw new SurfaceError('invalid_argument', 'the body ends before its envelope does');
  if (length < body.length - headBytes) throw new SurfaceError('invalid_argument', 'more than one message where there is one');
  return parse(body.subarray(headBytes));
}

/** Reads the request's message, at most `limits.host.requestBytes` of it. */
export async function readMessage(request: IncomingMessage, kind: CallKind): Promise<unknown> {
  const encoding = request.headers[kind === 'unary' ? 'content-encoding' : 'connect-content-encoding'] ?? 'identity';
  if (encoding !== 'identity') throw new SurfaceError('unimplemented', `unknown compression "${String(encoding).slice(0, 40)}": supported encodings are identity`);
  const body = await readBytes(request, limits.host.requestBytes);
  return kind === 'stream' ? openEnvelope(body) : parse(body);
}

function parse(json: Buffer): unknown {
  // The JSON form of a message without fields may be left out.
  if (json.length === 0) return {};
  try {
    return JSON.parse(json.toString('utf8'));
  } catch {
    throw new SurfaceError('invalid_argument', 'the message is not JSON');
  }
}

/** Milliseconds that the caller gives a call: 1…10 digits. Undefined: for ever. */
export function timeoutMsOf(header: string | string[] | undefined): number | undefined {
  if (header === undefined) return undefined;
  if (typeof header !== 'string' || !/^\d{1,10}$/.test(header)) throw new SurfaceError('invalid_argument', 'connect-timeout-ms must be 1…10 digits');
  const ms = Number(header);
  return ms === 0 ? undefined : ms;
}

const keepaliveDefaultS = 90;
const keepaliveMaxS = 3600;

/** How long a stream may be silent, in milliseconds; what cannot be read counts as not said. */
export function keepaliveMsOf(header: string | string[] | undefined): number {
  const seconds = typeof header === 'string' && /^\d{1,6}$/.test(header) ? Number(header) : 0;
  return 1000 * (seconds === 0 ? keepaliveDefaultS : Math.min(seconds, keepaliveMaxS));
}

export function sendUnary(response: ServerResponse, message: unknown): void {
  sendBody(response, 200, message);
}

export function sendUnaryError(response: ServerResponse, error: SurfaceError): void {
  sendBody(response, error.status, { code: error.code, message: error.message });
}

/** A streamed answer that is nothing but its end. */
export function sendStreamError(response: ServerResponse, { code, message }: SurfaceError): void {
  response.writeHead(200, { 'content-type': 'application/connect+json', 'cache-control': 'no-store' });
  response.end(envelope(flag.end, { error: { code, message } }));
}

function sendBody(response: ServerResponse, status: number, message: unknown): void {
  const body = Buffer.from(JSON.stringify(message));
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': body.length });
  response.end(body);
}
