import { assert, limits } from '@alcove/base';
import { encodeFields, Fields } from './fields';
import { encodeFrame, encodeWindow, frameTypes, lanes, type Frame } from './frames';
import { LaneQueue } from './lane-queue';
import type { Outbox, Source } from './outbox';
import { broken } from './problems';

/** Which lanes of bytes the service may answer on. */
export type Answers = 'messages' | 'bytes' | 'bytes-and-stderr';

/** What a service is told about its stream. They are called from within the channel's reading: they must be quick; a Problem thrown by them ends the session. */
export interface StreamEvents {
  readonly answers: Answers;
  /** There are bytes to read(). */
  readable(): void;
  message(fields: Fields): void;
  /** The guest sends no more; bytes may still be waiting. */
  ended(): void;
  /** The stream is over early. What waited is dropped, nothing is called any more. */
  failed(error: Error): void;
}

interface Outgoing {
  bytes: Buffer;
  sent: () => void;
  failed: (error: Error) => void;
}

/** What a stream needs of its mux. */
export interface StreamHost {
  readonly outbox: Outbox;
  /** The stream is finished or failed: forget it. `early`: frames of it may still come. */
  release(stream: GuestStream, early: boolean): void;
}

/**
 * The host's end of one stream. States: open → (host ended, guest ended, in either order) → finished; or failed, from anywhere. Invariants: it never holds more than
 * one window of the guest's bytes; it never sends more than the guest granted; it grants only what was consumed.
 */
export class GuestStream implements Source {
  readonly #queue = new LaneQueue();
  /** What the guest may still send, and what we have consumed but not granted again yet. */
  #receivable: number = limits.channel.windowBytes;
  #consumed = 0;
  #sendable: number = limits.channel.windowBytes;
  #outgoing: Outgoing | undefined;
  #endAsked = false;
  #onEndSent: (() => void) | undefined;
  #hostEnded = false;
  #guestEnded = false;
  #finished = false;
  #failure: Error | undefined;

  constructor(
    readonly id: number,
    private readonly host: StreamHost,
    private readonly events: StreamEvents,
  ) {}

  get hostEnded(): boolean {
    return this.#hostEnded;
  }

  get over(): boolean {
    return this.#failure !== undefined || this.#finished;
  }

  // ---- for the service

  /** Takes bytes that have arrived; the guest is granted as many again. */
  read(): { lane: number; bytes: Buffer } | undefined {
    const piece = this.#queue.shift();
    if (piece) this.#consume(piece.bytes.length);
    return piece;
  }

  /** Resolves when the bytes were handed to the channel: once the guest has granted them and the channel had room. One at a time. */
  send(bytes: Buffer): Promise<void> {
    assert(!this.#outgoing && !this.#endAsked, 'one write at a time, and none after the end');
    if (this.#failure) return Promise.reject(this.#failure);
    if (bytes.length === 0) return Promise.resolve();
    return new Promise((sent, failed) => {
      this.#outgoing = { bytes, sent, failed };
      this.host.outbox.wake(this);
    });
  }

  /** The host sends no more. onSent is called when that was handed to the channel; never, when the stream fails first. */
  end(onSent?: () => void): void {
    if (this.#endAsked || this.#failure) return;
    this.#endAsked = true;
    this.#onEndSent = onSent;
    this.host.outbox.wake(this);
  }

  /** Ends the stream both ways, telling the guest `cancelled`. Does nothing when it is over. */
  cancel(error: Error): void {
    if (this.over) return;
    this.host.outbox.control(encodeFrame(this.id, frameTypes.reset, encodeFields([['code', 'cancelled']])));
    this.fail(error);
  }

  // ---- for the mux

  /** Ends the stream without telling the guest. */
  fail(error: Error): void {
    if (this.over) return;
    const early = !this.#guestEnded;
    this.#failure = error;
    this.#queue.clear();
    this.host.outbox.forget(this);
    this.host.release(this, early);
    this.#outgoing?.failed(error);
    this.#outgoing = undefined;
    this.events.failed(error);
  }

  /** One frame of the guest for this stream. Throws `guest.protocol`. False: it did nothing. */
  receive(frame: Frame): boolean {
    switch (frame.type) {
      case frameTypes.data:
        return this.#receiveData(frame);
      case frameTypes.end:
        return this.#receiveEnd();
      default:
        return this.#receiveWindow(frame.payload.readUInt32LE(0));
    }
  }

  sendOne(): boolean {
    if (this.over || this.#hostEnded) return false;
    if (this.#outgoing) this.#sendData(this.#outgoing);
    if (this.#outgoing) return this.#sendable > 0;
    if (!this.#endAsked) return false;
    this.host.outbox.data(this.id, frameTypes.end, 0, Buffer.alloc(0));
    this.#hostEnded = true;
    this.#onEndSent?.();
    this.#finish();
    return false;
  }

  #sendData(outgoing: Outgoing): void {
    const count = Math.min(outgoing.bytes.length, this.#sendable, limits.channel.frameBytes);
    if (count === 0) return;
    this.#sendable -= count;
    this.host.outbox.data(this.id, frameTypes.data, lanes.bytes, outgoing.bytes.subarray(0, count));
    outgoing.bytes = outgoing.bytes.subarray(count);
    if (outgoing.bytes.length > 0) return;
    this.#outgoing = undefined;
    outgoing.sent();
  }

  #receiveData({ lane, payload }: Frame): boolean {
    if (this.#guestEnded) return false;
    if (payload.length > this.#receivable) throw broken('a stream ran over its window');
    this.#receivable -= payload.length;
    if (lane === lanes.message) {
      this.events.message(new Fields(payload));
      this.#consume(payload.length);
      return payload.length > 0;
    }
    const allowed = this.events.answers === 'bytes-and-stderr' || (this.events.answers === 'bytes' && lane === lanes.bytes);
    if (!allowed) throw broken('bytes on a lane that this service does not use');
    if (payload.length === 0) return false;
    this.#queue.push(lane, payload);
    this.events.readable();
    return true;
  }

  #receiveEnd(): boolean {
    if (this.#guestEnded) return false;
    this.#guestEnded = true;
    this.events.ended();
    this.#finish();
    return true;
  }

  #receiveWindow(credit: number): boolean {
    this.#sendable += credit;
    if (this.#sendable > limits.channel.windowBytes) throw broken('a stream was granted more than its window');
    if (credit > 0 && this.#outgoing) this.host.outbox.wake(this);
    return credit > 0;
  }

  #consume(bytes: number): void {
    this.#consumed += bytes;
    if (this.#consumed * 4 < limits.channel.windowBytes || this.#guestEnded || this.#failure) return;
    this.host.outbox.control(encodeWindow(this.id, this.#consumed));
    this.#receivable += this.#consumed;
    this.#consumed = 0;
  }

  #finish(): void {
    if (!this.#hostEnded || !this.#guestEnded || this.over) return;
    this.#finished = true;
    this.host.release(this, false);
  }
}
