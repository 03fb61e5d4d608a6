import { Duplex } from 'node:stream';
import type { Random } from '@alcove/base';

/**
 * Two ends of a byte channel that cuts and joins what passes at random, as sockets do, and holds little: a writer is told to wait until the other end has read.
 */
export function choppedPair(random: Random, pieceMax = 4096): [Duplex, Duplex] {
  const left = new ChoppedEnd(random, pieceMax);
  const right = new ChoppedEnd(random, pieceMax);
  left.other = right;
  right.other = left;
  return [left, right];
}

class ChoppedEnd extends Duplex {
  other: ChoppedEnd | undefined;
  #wanted: (() => void) | undefined;

  constructor(
    private readonly random: Random,
    private readonly pieceMax: number,
  ) {
    super({ readableHighWaterMark: 16_384, writableHighWaterMark: 16_384 });
  }

  override _read(): void {
    const wanted = this.#wanted;
    this.#wanted = undefined;
    wanted?.();
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.#pass(Buffer.concat(chunks.map(({ chunk }) => chunk)), done);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#pass(chunk, done);
  }

  override _final(done: () => void): void {
    this.other?.push(null);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const other = this.other;
    setImmediate(() => other?.destroy());
    done(error);
  }

  #pass(bytes: Buffer, done: () => void): void {
    const other = this.other;
    if (bytes.length === 0 || !other || other.destroyed) {
      done();
      return;
    }
    const count = 1 + this.random.below(Math.min(bytes.length, this.pieceMax));
    const goOn = () => setImmediate(() => this.#pass(bytes.subarray(count), done));
    if (other.push(Buffer.from(bytes.subarray(0, count)))) goOn();
    else other.#wanted = goOn;
  }
}
