import type { IncomingMessage } from 'node:http';
import { type Answer, type HostProcess, readAnswer } from './host-harness';

export interface Envelope {
  flags: number;
  message: Record<string, unknown>;
}

/** Calls on one room's surface as E2B's SDK makes them, through the host's real server. */
export class SurfaceCaller {
  constructor(
    private readonly host: HostProcess,
    private readonly identity: { ca: Buffer; cert: Buffer; key: Buffer },
    private readonly base: () => string,
  ) {}

  send(method: string, path: string, options: { body?: Buffer | string; headers?: Record<string, string>; signal?: AbortSignal } = {}): Promise<IncomingMessage> {
    return this.host.send(method, `${this.base()}/${path}`, { ...options, identity: this.identity });
  }
  async call(method: string, path: string, options: { body?: Buffer | string; headers?: Record<string, string> } = {}): Promise<Answer> {
    return readAnswer(await this.send(method, path, options));
  }
  /** A call with one answer. */
  unary(rpc: string, message: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    return this.call('POST', rpc, { body: JSON.stringify(message), headers: { 'content-type': 'application/json', 'connect-protocol-version': '1', ...headers } });
  }
  /** A call with a streamed answer, event by event. */
  async stream(rpc: string, message: unknown, headers: Record<string, string> = {}, signal?: AbortSignal): Promise<EnvelopeReader> {
    const answer = await this.send('POST', rpc, { body: enveloped(message), headers: { 'content-type': 'application/connect+json', 'connect-protocol-version': '1', ...headers }, ...(signal ? { signal } : {}) });
    return new EnvelopeReader(answer);
  }
  /** All that such a call says. */
  async streamed(rpc: string, message: unknown, headers: Record<string, string> = {}): Promise<Envelope[]> {
    const reader = await this.stream(rpc, message, headers);
    const all: Envelope[] = [];
    for (let next = await reader.next(); next !== null; next = await reader.next()) all.push(next);
    return all;
  }
}

export function enveloped(message: unknown): Buffer {
  const json = Buffer.from(JSON.stringify(message));
  const head = Buffer.alloc(5);
  head.writeUInt32BE(json.length, 1);
  return Buffer.concat([head, json]);
}

/** Takes a streamed answer apart. Fails where the answer is cut. */
export class EnvelopeReader {
  #rest = Buffer.alloc(0);
  readonly #chunks: AsyncIterator<Buffer>;
  constructor(readonly answer: IncomingMessage) {
    this.#chunks = answer[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }
  /** Null at a clean end. */
  async next(): Promise<Envelope | null> {
    for (;;) {
      if (this.#rest.length >= 5 && this.#rest.length >= 5 + this.#rest.readUInt32BE(1)) {
        const end = 5 + this.#rest.readUInt32BE(1);
        const whole = { flags: this.#rest[0] ?? 0, message: JSON.parse(this.#rest.subarray(5, end).toString()) as Record<string, unknown> };
        this.#rest = this.#rest.subarray(end);
        return whole;
      }
      const chunk = await this.#chunks.next();
      if (chunk.done) return null;
      this.#rest = Buffer.concat([this.#rest, chunk.value]);
    }
  }
  /** Resolves when the answer was cut rather than ended. */
  async cut(): Promise<void> {
    for (;;) {
      const next = await this.next().catch(() => 'cut' as const);
      if (next === 'cut') return;
      if (next === null) throw new Error('the answer ended cleanly');
    }
  }
}

/** The text of a stream's output. */
export function textOf(events: Envelope[], lane: 'stdout' | 'stderr' | 'pty' = 'stdout'): string {
  const pieces = events.map(({ message }) => (message as { event?: { data?: Record<string, string> } }).event?.data?.[lane]);
  return Buffer.concat(pieces.filter((piece) => piece !== undefined).map((piece) => Buffer.from(piece, 'base64'))).toString();
}

export interface FormPart {
  name: string;
  filename?: string;
  body: Buffer | string;
}
export const boundary = 'form-boundary-0123456789';
export const formHeaders = { 'content-type': `multipart/form-data; boundary=${boundary}` };

/** A form as fetch sends it. */
export function form(parts: FormPart[]): Buffer {
  const pieces = parts.flatMap(({ name, filename, body }) => [
    Buffer.from(`--${boundary}\r\ncontent-disposition: form-data; name="${name}"${filename === undefined ? '' : `; filename="${filename}"\r\ncontent-type: application/octet-stream`}\r\n\r\n`),
    Buffer.from(body),
    Buffer.from('\r\n'),
  ]);
  return Buffer.concat([...pieces, Buffer.from(`--${boundary}--\r\n`)]);
}
