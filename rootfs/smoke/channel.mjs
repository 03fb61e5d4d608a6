// A small host's end of the guest channel (guest-agent/PROTOCOL.md), enough to try a guest with: no limits, no fairness.
// The real one is libs/runtime/src/guest-channel.
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';

const MAGIC = Buffer.from([0xff, 0xff, 0xff, 0xff, ...Buffer.from('ALCOVE/1'), 0x0d, 0x0a, 0x1a, 0x00]);
const SYNC_BYTES = 36;
const HEADER_BYTES = 12;
const WINDOW = 262_144;
const UNTIL_MS = 180_000;
export const KIND = { open: 1, data: 2, end: 3, reset: 4, window: 5, ping: 6, pong: 7 };

export function encodeFields(entries) {
  const parts = [];
  for (const [name, value] of entries) {
    const bytes = Buffer.isBuffer(value) ? value : Buffer.from(String(value));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    parts.push(Buffer.from([name.length]), Buffer.from(name), length, bytes);
  }
  return Buffer.concat(parts);
}

/** A field that repeats becomes a list. */
export function decodeFields(payload) {
  const fields = {};
  for (let at = 0; at < payload.length;) {
    const nameLength = payload[at];
    const name = payload.toString('latin1', at + 1, at + 1 + nameLength);
    const valueLength = payload.readUInt32LE(at + 1 + nameLength);
    at += 5 + nameLength;
    const value = payload.toString('utf8', at, at + valueLength);
    fields[name] = name in fields ? [fields[name], value].flat() : value;
    at += valueLength;
  }
  return fields;
}

export function frame(kind, stream, payload = Buffer.alloc(0), lane = 0) {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(payload.length, 0);
  header.writeUInt32LE(stream, 4);
  header[8] = kind;
  header[9] = lane;
  return Buffer.concat([header, payload]);
}

export class Reset extends Error {
  constructor({ code, detail }) {
    super(`${code}: ${detail}`);
    this.code = code;
  }
}

/** One stream: `messages`, `bytes` and `errors` fill up; `done` settles at the guest's END (or rejects at its RESET). */
class Stream {
  constructor(channel, id, listener) {
    Object.assign(this, { channel, id, listener, messages: [], chunks: [], errorChunks: [], credit: WINDOW, unsent: [], wantsEnd: false, looks: [] });
    this.done = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
    this.done.catch(() => {});
    this.first = new Promise((resolve) => (this.onFirst = resolve));
  }

  get text() {
    return Buffer.concat(this.chunks).toString();
  }

  get errorText() {
    return Buffer.concat(this.errorChunks).toString();
  }

  write(bytes) {
    this.unsent.push(Buffer.from(bytes));
    this.pump();
    return this;
  }

  end() {
    this.wantsEnd = true;
    this.pump();
    return this;
  }

  cancel() {
    this.channel.send(
      frame(
        KIND.reset,
        this.id,
        encodeFields([
          ['code', 'cancelled'],
          ['detail', ''],
        ]),
      ),
    );
    this.channel.streams.delete(this.id);
  }

  pump() {
    while (this.unsent.length > 0 && this.credit > 0) {
      const next = this.unsent[0];
      const count = Math.min(next.length, this.credit, 65_536);
      this.channel.send(frame(KIND.data, this.id, next.subarray(0, count)));
      this.credit -= count;
      if (count === next.length) this.unsent.shift();
      else this.unsent[0] = next.subarray(count);
    }
    if (this.unsent.length === 0 && this.wantsEnd) {
      this.wantsEnd = false;
      this.channel.send(frame(KIND.end, this.id));
    }
  }

  /** Ends its deafness. */
  hear() {
    const credit = Buffer.alloc(4);
    credit.writeUInt32LE(this.owed ?? 0);
    this.deaf = false;
    this.channel.send(frame(KIND.window, this.id, credit));
  }

  /** Waits until `holds(stream)`; rejects when the stream ends before, or when it takes far too long. */
  async until(holds) {
    const said = () => `${holds}; it said ${JSON.stringify(this.messages.slice(-5))} ${JSON.stringify(this.text.slice(-2000))}`;
    let timer;
    const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`not in time: ${said()}`)), UNTIL_MS)));
    const met = new Promise((resolve) => {
      const look = () => holds(this) && resolve(this);
      this.looks.push(look);
      look();
    });
    const over = this.done.then(() => {
      if (!holds(this)) throw new Error(`the stream ended before: ${said()}`);
      return this;
    });
    return await Promise.race([met, over, late]).finally(() => clearTimeout(timer));
  }

  take(kind, lane, payload) {
    this.accept(kind, lane, payload);
    for (const look of this.looks) look();
  }

  accept(kind, lane, payload) {
    this.onFirst();
    if (kind === KIND.window) {
      this.credit += payload.readUInt32LE(0);
      this.pump();
    } else if (kind === KIND.data) {
      const credit = Buffer.alloc(4);
      credit.writeUInt32LE(payload.length);
      // A deaf stream keeps its credit to itself.
      if (this.deaf) this.owed = (this.owed ?? 0) + payload.length;
      else if (payload.length > 0) this.channel.send(frame(KIND.window, this.id, credit));
      if (lane === 2) this.messages.push(decodeFields(payload));
      else if (lane === 1) this.errorChunks.push(payload);
      else if (this.listener) this.listener(payload);
      else this.chunks.push(payload);
    } else if (kind === KIND.end) {
      this.end();
      this.resolve(this);
    } else if (kind === KIND.reset) {
      this.reject(new Reset(decodeFields(payload)));
    }
  }
}

export class Channel {
  constructor(socket) {
    Object.assign(this, { socket, streams: new Map(), next: 1, buffered: Buffer.alloc(0), session: undefined, synced: false, pongs: 0 });
    socket.on('data', (bytes) => this.receive(bytes));
    socket.on('error', () => {});
  }

  /** Connects to a unix socket, trying again until it is there. */
  static async open(path, deadlineMs = 5_000) {
    for (const until = performance.now() + deadlineMs; ;) {
      const socket = await new Promise((resolve) => {
        const attempt = connect(path);
        attempt.once('connect', () => resolve(attempt));
        attempt.once('error', () => resolve(undefined));
      });
      if (socket) return new Channel(socket);
      if (performance.now() > until) throw new Error(`no connection to ${path}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  send(bytes) {
    this.socket.write(bytes);
  }

  /** Starts a session; rejects when there is no answer in time. */
  async sync(deadlineMs = 12_000) {
    this.session = randomBytes(16);
    this.synced = false;
    this.streams.clear();
    this.next = 1;
    const version = Buffer.from([1, 0, 0, 0]);
    const answered = new Promise((resolve) => (this.onSync = resolve));
    const ask = () => this.send(Buffer.concat([MAGIC, this.session, version]));
    ask();
    let timer;
    const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error('no answer to the sync')), deadlineMs)));
    await Promise.race([answered, late]).finally(() => clearTimeout(timer));
  }

  receive(bytes) {
    this.buffered = this.buffered.length === 0 ? bytes : Buffer.concat([this.buffered, bytes]);
    if (!this.synced && !this.findSync()) return;
    for (;;) {
      if (this.buffered.length < HEADER_BYTES) return;
      const length = this.buffered.readUInt32LE(0);
      if (length > 65_536) throw new Error(`bad frame from the guest: ${length} bytes`);
      if (this.buffered.length < HEADER_BYTES + length) return;
      const [id, kind, lane] = [this.buffered.readUInt32LE(4), this.buffered[8], this.buffered[9]];
      const payload = this.buffered.subarray(HEADER_BYTES, HEADER_BYTES + length);
      this.buffered = this.buffered.subarray(HEADER_BYTES + length);
      if (kind === KIND.pong) this.pongs += 1;
      this.streams.get(id)?.take(kind, lane, payload);
    }
  }

  findSync() {
    const wanted = Buffer.concat([MAGIC, this.session ?? Buffer.alloc(16)]);
    const at = this.buffered.indexOf(wanted);
    if (at < 0 || this.buffered.length < at + SYNC_BYTES) return false;
    this.buffered = this.buffered.subarray(at + SYNC_BYTES);
    this.synced = true;
    this.onSync();
    return true;
  }

  /** Opens a stream; `fields` are pairs. */
  open(service, fields = [], listener = undefined) {
    const stream = new Stream(this, this.next, listener);
    this.next += 2;
    this.streams.set(stream.id, stream);
    this.send(frame(KIND.open, stream.id, encodeFields([['svc', service], ...fields])));
    return stream;
  }

  /** Opens a stream that sends nothing, and waits for its end. */
  call(service, fields = []) {
    return this.open(service, fields).end().done;
  }

  async claim(mode, incarnation = 1, extra = [], hostname = 'room') {
    const fields = [
      ['room', 'smoke'],
      ['incarnation', incarnation],
      ['mode', mode],
      ['entropy', randomBytes(64)],
      ['wallClockNs', `${BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n}`],
      ...(mode === 'resumed'
        ? []
        : [
            ['machineId', randomBytes(16).toString('hex')],
            ['hostname', hostname],
          ]),
      ...extra,
    ];
    return (await this.call('claim', fields)).messages[0];
  }

  /** Starts a shell command that outlives its stream. */
  keep(command, fields = [], listener = undefined) {
    return this.open('exec', [['arg', 'bash'], ['arg', '-c'], ['arg', command], ['keep', 1], ...fields], listener);
  }

  /** Gives input to a kept process. */
  input(name, text, fields = []) {
    return this.open('input', [name, ...fields]).write(text).end().done;
  }

  /** Runs a shell command as `user` (or with other fields). */
  async shell(command, fields = []) {
    const stream = await this.call('exec', [['arg', 'bash'], ['arg', '-c'], ['arg', command], ...fields]);
    return { ...stream.messages.at(-1), out: stream.text, err: stream.errorText };
  }

  /** One HTTP request to a port of the room; the body as text. */
  async http(method, path, body = '', headers = {}, port = 8080) {
    const stream = this.open('connect', [
      ['port', port],
      ['waitMs', 300_000],
    ]);
    const lines = [`${method} ${path} HTTP/1.1`, 'host: room', 'connection: close', `content-length: ${Buffer.byteLength(body)}`];
    for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
    stream.write(`${lines.join('\r\n')}\r\n\r\n${body}`);
    await stream.done;
    return parseResponse(Buffer.concat(stream.chunks));
  }

  /** Asks the agent; its answer as an object. */
  async invoke(prompt, headers = {}) {
    const { status, body } = await this.http('POST', '/invocations', JSON.stringify({ prompt }), { 'content-type': 'application/json', ...headers });
    if (status !== 200) throw new Error(`status ${status}: ${body}`);
    return JSON.parse(body);
  }

  close() {
    this.socket.destroy();
  }
}

function parseResponse(bytes) {
  const split = bytes.indexOf('\r\n\r\n');
  const head = bytes.toString('latin1', 0, split);
  const status = Number(head.split(' ')[1]);
  const raw = bytes.subarray(split + 4);
  const chunked = /^transfer-encoding: *chunked/im.test(head);
  return { status, head, body: (chunked ? unchunk(raw) : raw).toString() };
}

function unchunk(bytes) {
  const parts = [];
  for (let at = 0; at < bytes.length;) {
    const lineEnd = bytes.indexOf('\r\n', at);
    const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16);
    if (!(size > 0)) break;
    parts.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size));
    at = lineEnd + 4 + size;
  }
  return Buffer.concat(parts);
}
