import { limits } from '@alcove/base';
import { decodeHead, type Frame, type FrameHead } from './frames';

/**
 * Makes frames of the guest's bytes, however they are cut. Pure. Invariants: holds at most one unfinished frame (12 + 65,536 bytes); reserves memory only for a
 * length that was checked; after it threw, it takes nothing any more.
 */
export class FrameParser {
  readonly #head = Buffer.alloc(limits.channel.headerBytes);
  #headFilled = 0;
  #frame: FrameHead | undefined;
  /** The unfinished payload, when it did not come in one piece. */
  #payload: Buffer | undefined;
  #payloadFilled = 0;
  #dead = false;

  /** Calls onFrame for every frame that is complete, in order. Throws the Problem `guest.protocol` for a bad one, and whatever onFrame throws. */
  push(chunk: Buffer, onFrame: (frame: Frame) => void): void {
    if (this.#dead) return;
    this.#dead = true;
    let at = 0;
    while (at < chunk.length) {
      at = this.#frame ? this.#takePayload(chunk, at, this.#frame) : this.#takeHead(chunk, at);
      if (this.#frame && this.#payloadFilled === this.#frame.length) this.#deliver(this.#frame, onFrame);
    }
    this.#dead = false;
  }

  #takeHead(chunk: Buffer, at: number): number {
    const taken = chunk.copy(this.#head, this.#headFilled, at);
    this.#headFilled += taken;
    if (this.#headFilled === this.#head.length) {
      this.#frame = decodeHead(this.#head);
      this.#headFilled = 0;
    }
    return at + taken;
  }

  #takePayload(chunk: Buffer, at: number, frame: FrameHead): number {
    const wanted = frame.length - this.#payloadFilled;
    const piece = chunk.subarray(at, at + wanted);
    if (piece.length === frame.length) {
      this.#payload = piece;
    } else {
      this.#payload ??= Buffer.allocUnsafeSlow(frame.length);
      piece.copy(this.#payload, this.#payloadFilled);
    }
    this.#payloadFilled += piece.length;
    return at + piece.length;
  }

  #deliver(frame: FrameHead, onFrame: (frame: Frame) => void): void {
    const payload = this.#payload ?? Buffer.alloc(0);
    this.#frame = undefined;
    this.#payload = undefined;
    this.#payloadFilled = 0;
    onFrame({ stream: frame.stream, type: frame.type, lane: frame.lane, payload });
  }
}
