import { limits } from '@alcove/base';

interface Segment {
  lane: number;
  buffer: Buffer;
  length: number;
}

const segmentBytesMin = 512;

/**
 * Bytes that have arrived and were not consumed yet, with their lanes. Its memory is a small multiple of the bytes it holds, however they came: a guest that sends its
 * window in frames of one byte costs about what one in large frames costs. For that, small pieces are copied together, and a piece that would keep a much larger
 * buffer alive is copied out of it. Order within a lane is kept always, order between lanes until `limits.channel.queueSegments` pieces are waiting.
 */
export class LaneQueue {
  readonly #segments: Segment[] = [];
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  push(lane: number, bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#bytes += bytes.length;
    const tail = this.#tailOf(lane);
    if (tail && tail.length + bytes.length <= limits.channel.frameBytes) {
      append(tail, bytes);
    } else if (bytes.length * 2 >= bytes.buffer.byteLength) {
      this.#segments.push({ lane, buffer: bytes, length: bytes.length });
    } else {
      const segment = { lane, buffer: Buffer.allocUnsafeSlow(Math.max(segmentBytesMin, bytes.length)), length: 0 };
      append(segment, bytes);
      this.#segments.push(segment);
    }
  }

  /** The next piece: of one lane, at most 65,536 bytes, never empty. It is the caller's alone. */
  shift(): { lane: number; bytes: Buffer } | undefined {
    const segment = this.#segments.shift();
    if (!segment) return undefined;
    this.#bytes -= segment.length;
    return { lane: segment.lane, bytes: segment.buffer.subarray(0, segment.length) };
  }

  clear(): void {
    this.#segments.length = 0;
    this.#bytes = 0;
  }

  #tailOf(lane: number): Segment | undefined {
    const last = this.#segments.at(-1);
    if (!last || last.lane === lane) return last;
    if (this.#segments.length < limits.channel.queueSegments) return undefined;
    return this.#segments.findLast((segment) => segment.lane === lane);
  }
}

/** Copies bytes to the segment's end; its buffer doubles when it is full. */
function append(segment: Segment, bytes: Buffer): void {
  const needed = segment.length + bytes.length;
  if (segment.buffer.length < needed) {
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, Math.min(segment.buffer.length * 2, limits.channel.frameBytes)));
    segment.buffer.copy(grown, 0, 0, segment.length);
    segment.buffer = grown;
  }
  bytes.copy(segment.buffer, segment.length);
  segment.length = needed;
}
