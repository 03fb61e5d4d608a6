import type { Writable } from 'node:stream';
import { limits } from '@alcove/base';
import { FrameParser } from './frame-parser';
import { encodeFields, Fields, type FieldList } from './fields';
import { encodeFrame, frameTypes, type Frame } from './frames';
import { Outbox } from './outbox';
import { beyond, broken, resetProblem, type Asked } from './problems';
import { GuestStream, type StreamEvents, type StreamHost } from './stream';

interface Entry {
  stream: GuestStream;
  asked: Asked;
}

interface Ping {
  onPong: () => void;
  onFailed: (error: Error) => void;
}

const idMax = 0xffff_ffff;
const { strayBytes } = limits.channel;
const strayBytesFinished = 1024;
/** The budget for stray frames never grows beyond that of this many cancelled streams. */
const strayStreams = 64;

/**
 * All streams of one session over one channel: frames find their stream, and everything the guest may make us do is counted. Invariants: at most
 * `limits.channel.streams` streams of at most one window each; a stream's number is never used twice; after fail() nothing happens any more. Nothing is thrown at
 * the channel: what the guest does wrong goes to onBroken, once.
 */
export class Mux implements StreamHost {
  readonly outbox: Outbox;
  readonly #parser = new FrameParser();
  readonly #streams = new Map<number, Entry>();
  readonly #pings = new Map<string, Ping>();
  #nextId = 1;
  #lastGuestId = 0;
  /** How many bytes of frames that do nothing are still put up with: they come from streams that were cancelled, or from a guest that floods. */
  #strayBudget: number = strayBytes;
  #over: Error | undefined;
  #heard = 0;

  constructor(
    channel: Writable,
    private readonly onBroken: (problem: Error) => void,
  ) {
    this.outbox = new Outbox(channel, () => this.#break(beyond('the guest asks without reading the answers')));
  }

  /** Grows with everything that comes from the guest. */
  get heard(): number {
    return this.#heard;
  }

  get streams(): number {
    return this.#streams.size;
  }

  /** Opens a stream; `asked` says what a RESET of the guest will mean. Problems: what ended the session; `guest.limit` at 256 streams; `request.too_large`. */
  open(fields: FieldList, events: StreamEvents, asked: Asked): GuestStream {
    if (this.#over) throw this.#over;
    const payload = encodeFields(fields);
    if (this.#streams.size >= limits.channel.streams) throw beyond('too many streams to this room');
    if (this.#nextId > idMax) throw beyond('this session has used up its streams');
    const stream = new GuestStream(this.#nextId, this, events);
    this.#nextId += 2;
    this.#streams.set(stream.id, { stream, asked });
    this.outbox.control(encodeFrame(stream.id, frameTypes.open, payload));
    return stream;
  }

  /** Sends a PING with these bytes (at most 64); calls back when they come back or the session ends. The result forgets it. */
  ping(payload: Buffer, onPong: () => void, onFailed: (error: Error) => void): () => void {
    if (this.#over) throw this.#over;
    const key = payload.toString('latin1');
    this.#pings.set(key, { onPong, onFailed });
    this.outbox.control(encodeFrame(0, frameTypes.ping, payload));
    return () => this.#pings.delete(key);
  }

  /** Bytes from the guest. Never throws. */
  receive(chunk: Buffer): void {
    try {
      this.#parser.push(chunk, (frame) => {
        this.#heard++;
        this.#dispatch(frame);
      });
    } catch (error) {
      this.#break(error as Error);
    }
  }

  /** Ends every stream with this error and sends nothing more. */
  fail(error: Error): void {
    if (this.#over) return;
    this.#over = error;
    this.outbox.close();
    for (const { stream } of [...this.#streams.values()]) stream.fail(error);
    for (const ping of this.#pings.values()) ping.onFailed(error);
    this.#pings.clear();
  }

  release(stream: GuestStream, early: boolean): void {
    this.#streams.delete(stream.id);
    // What the guest had under way may still come: of a cancelled stream at worst a window in very small frames, of a finished one a WINDOW or two.
    this.#strayBudget = Math.min(this.#strayBudget + (early ? strayBytes : strayBytesFinished), strayBytes * strayStreams);
  }

  #break(error: Error): void {
    if (!this.#over) this.onBroken(error);
  }

  #dispatch(frame: Frame): void {
    if (this.#over) return;
    switch (frame.type) {
      case frameTypes.ping:
        this.outbox.control(encodeFrame(0, frameTypes.pong, frame.payload));
        this.#countStray(frame);
        return;
      case frameTypes.pong:
        if (!this.#takePong(frame)) this.#countStray(frame);
        return;
      case frameTypes.open:
        this.#refuse(frame);
        return;
      default:
        if (!this.#toStream(frame)) this.#countStray(frame);
    }
  }

  #takePong(frame: Frame): boolean {
    const key = frame.payload.toString('latin1');
    const ping = this.#pings.get(key);
    this.#pings.delete(key);
    ping?.onPong();
    return ping !== undefined;
  }

  /** Streams that the guest opens are reserved for later: even numbers, each used once (they must grow, so that we need not remember them). */
  #refuse(frame: Frame): void {
    if (frame.stream % 2 !== 0 || frame.stream <= this.#lastGuestId) throw broken('an OPEN with a wrong or used number');
    this.#lastGuestId = frame.stream;
    void new Fields(frame.payload);
    this.outbox.control(encodeFrame(frame.stream, frameTypes.reset, encodeFields([['code', 'unsupported']])));
    this.#countStray(frame);
  }

  /** False when the stream is not open or the frame did nothing. */
  #toStream(frame: Frame): boolean {
    const entry = this.#streams.get(frame.stream);
    if (!entry) return false;
    if (frame.type === frameTypes.reset) {
      const fields = new Fields(frame.payload);
      const problem = resetProblem(entry.asked, fields.optional('code', 64), fields.optional('detail', limits.channel.frameBytes));
      if (problem.code === 'guest.protocol') throw problem;
      entry.stream.fail(problem);
      return true;
    }
    return entry.stream.receive(frame);
  }

  #countStray(frame: Frame): void {
    this.#strayBudget -= limits.channel.headerBytes + frame.payload.length;
    if (this.#strayBudget < 0) throw beyond('a flood of frames that nobody asked for');
  }
}
