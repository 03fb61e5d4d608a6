import { limits } from '@alcove/base';
import fc from 'fast-check';
import { LaneQueue } from './lane-queue';

interface Piece {
  lane: number;
  bytes: Buffer;
}

function drain(queue: LaneQueue): Piece[] {
  const pieces: Piece[] = [];
  for (let piece = queue.shift(); piece; piece = queue.shift()) pieces.push(piece);
  return pieces;
}

/** The buffers that the pieces keep alive. */
const heldBytes = (pieces: Piece[]) => [...new Set(pieces.map((p) => p.bytes.buffer))].reduce((n, b) => n + b.byteLength, 0);
const joined = (pieces: Piece[], lane: number) => Buffer.concat(pieces.filter((p) => p.lane === lane).map((p) => p.bytes));

describe('the queue of a stream', () => {
  it('gives each lane its bytes in order, in any mixture of pushes and shifts', () => {
    const push = fc.record({ lane: fc.integer({ min: 0, max: 1 }), bytes: fc.uint8Array({ maxLength: 400 }).map((b) => Buffer.from(b)), shift: fc.boolean() });
    fc.assert(
      fc.property(fc.array(push, { maxLength: 200 }), (steps) => {
        const queue = new LaneQueue();
        const out: Piece[] = [];
        for (const { lane, bytes, shift } of steps) {
          queue.push(lane, bytes);
          const piece = shift ? queue.shift() : undefined;
          if (piece) out.push(piece);
        }
        const waiting = queue.bytes;
        const rest = drain(queue);
        expect(rest.reduce((n, p) => n + p.bytes.length, 0)).toBe(waiting);
        for (const lane of [0, 1]) expect(joined([...out, ...rest], lane)).toEqual(joined(steps, lane));
        expect([...out, ...rest].every((p) => p.bytes.length > 0 && p.bytes.length <= limits.channel.frameBytes)).toBe(true);
      }),
      { seed: 20250501, numRuns: 100 },
    );
  });

  it('keeps the order between the lanes while little waits', () => {
    const queue = new LaneQueue();
    for (const [lane, text] of [[0, 'a'], [0, 'b'], [1, 'c'], [0, 'd']] as const) queue.push(lane, Buffer.from(text));
    expect(drain(queue).map((p) => `${p.lane}${p.bytes.toString()}`)).toEqual(['0ab', '1c', '0d']);
  });

  it.each([
    ['one byte on one lane', (_i: number) => 0],
    ['one byte on lanes in turn', (i: number) => i % 2],
  ])('holds a window of %s, each cut from a large buffer, in little memory', (_name, laneOf) => {
    const queue = new LaneQueue();
    for (let i = 0; i < limits.channel.windowBytes; i += 256) {
      // As a socket gives them: a small frame somewhere in 64 KiB.
      const chunk = Buffer.alloc(65_536);
      for (let j = 0; j < 256; j++) queue.push(laneOf(i + j), chunk.subarray(j, j + 1));
    }
    expect(queue.bytes).toBe(limits.channel.windowBytes);
    const pieces = drain(queue);
    expect(pieces.length).toBeLessThan(2 * limits.channel.queueSegments);
    expect(heldBytes(pieces)).toBeLessThan(3 * limits.channel.windowBytes);
  });
});
