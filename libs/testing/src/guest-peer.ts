import type { Duplex } from 'node:stream';

/**
 * A scripted guest: the other end of the guest channel (rootfs/guest-agent/PROTOCOL.md), written apart from the host's end so that a mistake in one does not hide in
 * the other. It keeps the windows unless told otherwise; `send` puts any bytes on the wire.
 */
export const peerFrame = { open: 1, data: 2, end: 3, reset: 4, window: 5, ping: 6, pong: 7 } as const;

const magic = Buffer.from('ffffffff414c434f56452f310d0a1a00', 'hex');
const syncLength = 36;
const headLength = 12;
const windowLength = 262_144;
const payloadMax = 65_536;

export interface PeerFrame {
  stream: number;
  type: number;
  lane: number;
  payload: Buffer;
}

/** What a service of the peer does with a stream; `fields` are those of the OPEN. */
export type PeerService = (stream: PeerStream, fields: Map<string, string[]>) => void;

export interface PeerOptions {
  /** The first so many syncs are not answered. */
  deafTo?: number;
  version?: number;
  /** False: nothing is granted to the host again; its data is still told to the services. */
  grants?: boolean;
}

/** A list is a name that is there several times. */
export type PeerFields = Record<string, string | number | readonly string[]>;

export function peerFields(fields: PeerFields): Buffer {
  const parts: Buffer[] = [];
  const single = Object.entries(fields).flatMap(([name, value]) => (typeof value === 'object' ? value : [value]).map((one) => [name, String(one)] as const));
  for (const [name, value] of single) {
    const bytes = Buffer.from(value);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    parts.push(Buffer.from([name.length]), Buffer.from(name), length, bytes);
  }
  return Buffer.concat(parts);
}

export function peerEncode(type: number, stream: number, payload: Buffer = Buffer.alloc(0), lane = 0): Buffer {
  const head = Buffer.alloc(headLength);
  head.writeUInt32LE(payload.length, 0);
  head.writeUInt32LE(stream, 4);
  head[8] = type;
  head[9] = lane;
  return Buffer.concat([head, payload]);
}

function decodeFields(payload: Buffer): Map<string, string[]> {
  const fields = new Map<string, string[]>();
  for (let at = 0; at < payload.length; ) {
    const nameEnd = at + 1 + payload.readUInt8(at);
    const valueEnd = nameEnd + 4 + payload.readUInt32LE(nameEnd);
    const name = payload.toString('latin1', at + 1, nameEnd);
    fields.set(name, [...(fields.get(name) ?? []), payload.toString('utf8', nameEnd + 4, valueEnd)]);
    at = valueEnd;
  }
  return fields;
}

/** The guest's end of one stream that the host opened. */
export class PeerStream {
  /** Set by the service: bytes of the host, its END, its RESET (with the code). */
  onBytes: (bytes: Buffer) => void = () => undefined;
  onEnd: () => void = () => undefined;
  onReset: (code: string) => void = () => undefined;
  /** What the host still lets us send. */
  credit = windowLength;
  readonly #waiting: Buffer[] = [];
  #lane = 0;
  #afterwards: (() => void)[] = [];

  constructor(
    readonly peer: GuestPeer,
    readonly id: number,
  ) {}

  message(fields: PeerFields): this {
    const payload = peerFields(fields);
    this.credit -= payload.length;
    this.peer.send(peerEncode(peerFrame.data, this.id, payload, 2));
    return this;
  }

  /** Sends bytes as the window allows; one lane at a time. */
  bytes(bytes: Buffer, lane = 0): this {
    this.#lane = lane;
    this.#waiting.push(bytes);
    this.flush();
    return this;
  }

  /** Sends END after the bytes. */
  end(): this {
    this.#afterwards.push(() => this.peer.send(peerEncode(peerFrame.end, this.id)));
    this.flush();
    return this;
  }

  reset(code: string, detail = ''): this {
    this.peer.send(peerEncode(peerFrame.reset, this.id, peerFields({ code, detail })));
    return this;
  }

  flush(): void {
    for (let next = this.#waiting[0]; next && this.credit > 0; next = this.#waiting[0]) {
      const count = Math.min(next.length, this.credit, payloadMax);
      this.peer.send(peerEncode(peerFrame.data, this.id, next.subarray(0, count), this.#lane));
      this.credit -= count;
      if (count === next.length) this.#waiting.shift();
      else this.#waiting[0] = next.subarray(count);
    }
    if (this.#waiting.length > 0) return;
    for (const step of this.#afterwards.splice(0)) step();
  }
}

export class GuestPeer {
  /** Every frame of the host, without DATA payloads. */
  readonly frames: PeerFrame[] = [];
  readonly streams = new Map<number, PeerStream>();
  syncs = 0;
  #buffered: Buffer = Buffer.alloc(0);
  #framed = false;

  constructor(
    readonly channel: Duplex,
    private readonly services: Record<string, PeerService> = {},
    private readonly options: PeerOptions = {},
  ) {
    channel.on('data', (chunk: Buffer) => this.#receive(chunk));
    channel.on('error', () => undefined);
  }

  /** Any bytes, as they are. */
  send(bytes: Buffer): void {
    if (!this.channel.destroyed) this.channel.write(bytes);
  }

  /** As the guest does after `quiesce` and after a bad frame. */
  scan(): void {
    this.#framed = false;
    this.streams.clear();
  }

  #receive(chunk: Buffer): void {
    this.#buffered = this.#buffered.length === 0 ? chunk : Buffer.concat([this.#buffered, chunk]);
    while (this.#framed ? this.#takeFrame() : this.#takeSync());
  }

  #takeSync(): boolean {
    const at = this.#buffered.indexOf(magic);
    if (at < 0 || this.#buffered.length < at + syncLength) {
      if (at < 0) this.#buffered = this.#buffered.subarray(Math.max(0, this.#buffered.length - magic.length + 1));
      return false;
    }
    const answer = Buffer.from(this.#buffered.subarray(at, at + syncLength));
    this.#buffered = this.#buffered.subarray(at + syncLength);
    this.syncs += 1;
    if (this.syncs <= (this.options.deafTo ?? 0)) return true;
    answer.writeUInt32LE(this.options.version ?? 1, 32);
    this.streams.clear();
    this.#framed = true;
    this.send(answer);
    return true;
  }

  #takeFrame(): boolean {
    if (this.#buffered.length < headLength) return false;
    const length = this.#buffered.readUInt32LE(0);
    if (length > payloadMax) {
      this.scan();
      return true;
    }
    if (this.#buffered.length < headLength + length) return false;
    const frame = { stream: this.#buffered.readUInt32LE(4), type: this.#buffered.readUInt8(8), lane: this.#buffered.readUInt8(9), payload: this.#buffered.subarray(headLength, headLength + length) };
    this.#buffered = this.#buffered.subarray(headLength + length);
    this.frames.push(frame.type === peerFrame.data ? { ...frame, payload: Buffer.alloc(0) } : frame);
    this.#dispatch(frame);
    return true;
  }

  #dispatch({ stream: id, type, payload }: PeerFrame): void {
    const stream = this.streams.get(id);
    if (type === peerFrame.ping) this.send(peerEncode(peerFrame.pong, 0, payload));
    if (type === peerFrame.open) this.#open(id, decodeFields(payload));
    if (!stream) return;
    if (type === peerFrame.data) this.#data(stream, payload);
    if (type === peerFrame.end) stream.onEnd();
    if (type === peerFrame.window) {
      stream.credit += payload.readUInt32LE(0);
      stream.flush();
    }
    if (type === peerFrame.reset) {
      this.streams.delete(id);
      stream.onReset(decodeFields(payload).get('code')?.[0] ?? '');
    }
  }

  #data(stream: PeerStream, payload: Buffer): void {
    stream.onBytes(payload);
    if (this.options.grants === false) return;
    const credit = Buffer.alloc(4);
    credit.writeUInt32LE(payload.length);
    this.send(peerEncode(peerFrame.window, stream.id, credit));
  }

  #open(id: number, fields: Map<string, string[]>): void {
    const stream = new PeerStream(this, id);
    this.streams.set(id, stream);
    const service = this.services[fields.get('svc')?.[0] ?? ''];
    if (service) service(stream, fields);
    else stream.reset('unsupported', 'no such service');
  }
}
