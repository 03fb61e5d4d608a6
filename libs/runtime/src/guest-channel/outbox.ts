import type { Writable } from 'node:stream';
import { limits } from '@alcove/base';
import { encodeHead } from './frames';

/** Something that has DATA or END frames to send. */
export interface Source {
  /** Sends one frame through the outbox, if it may; true when there is more to send right now. */
  sendOne(): boolean;
}

/**
 * What goes to the guest. Control frames first and in order, then one frame of each stream in turn, so that no stream starves another; nothing is handed to the
 * channel while it is full. Invariant: DATA is never held here (it stays with its writer), control frames are at most `limits.channel.controlBytes`.
 */
export class Outbox {
  #control: Buffer[] = [];
  #controlBytes = 0;
  readonly #sources = new Set<Source>();
  #blocked = false;
  #scheduled = false;
  #closed = false;

  /** onOverflow: the guest makes us answer without reading the answers. */
  constructor(
    private readonly channel: Writable,
    private readonly onOverflow: () => void,
  ) {
    channel.on('drain', this.#onDrain);
  }

  /** Queues a whole frame that is not DATA. */
  control(frame: Buffer): void {
    if (this.#closed) return;
    this.#control.push(frame);
    this.#controlBytes += frame.length;
    if (this.#controlBytes > limits.channel.controlBytes) {
      this.close();
      queueMicrotask(this.onOverflow);
      return;
    }
    this.#schedule();
  }

  /** Says that the source has something to send. */
  wake(source: Source): void {
    if (this.#closed) return;
    this.#sources.add(source);
    this.#schedule();
  }

  forget(source: Source): void {
    this.#sources.delete(source);
  }

  /** For sources, from within sendOne(): one DATA frame, its payload not copied. */
  data(stream: number, type: number, lane: number, payload: Buffer): void {
    this.channel.cork();
    this.#write(encodeHead(payload.length, stream, type, lane));
    if (payload.length > 0) this.#write(payload);
    this.channel.uncork();
  }

  /** Sends nothing more. */
  close(): void {
    this.#closed = true;
    this.#control = [];
    this.#sources.clear();
    this.channel.off('drain', this.#onDrain);
  }

  readonly #onDrain = (): void => {
    this.#blocked = false;
    this.#schedule();
  };

  #write(bytes: Buffer): void {
    if (!this.channel.write(bytes)) this.#blocked = true;
  }

  /** Nothing is written, and nobody is called back, from within whoever is sending; what is sent in one go goes out together. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#pump();
    });
  }

  #pump(): void {
    while (!this.#blocked && !this.#closed && (this.#control.length > 0 || this.#sources.size > 0)) {
      if (this.#control.length > 0) this.#sendControl();
      else this.#sendData();
    }
  }

  #sendControl(): void {
    const frames = this.#control;
    this.#control = [];
    this.#controlBytes = 0;
    this.#write(Buffer.concat(frames));
  }

  #sendData(): void {
    const [source] = this.#sources;
    if (!source) return;
    this.#sources.delete(source);
    if (source.sendOne()) this.#sources.add(source);
  }
}
