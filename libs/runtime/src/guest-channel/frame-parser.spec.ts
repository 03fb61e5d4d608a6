import { limits, seededRandom, type Random } from '@alcove/base';
import { isProblem } from '@alcove/contracts';
import fc from 'fast-check';
import { encodeFrame, encodeHead, encodeWindow, frameTypes, type Frame } from './frames';
import { FrameParser } from './frame-parser';

const show = (frame: Frame) => `${frame.type}/${frame.stream}/${frame.lane}/${frame.payload.toString('hex')}`;

/** What the parser makes of the bytes, cut at random; the last entry says how it ended. */
function parse(bytes: Buffer, random: Random, pieceMax: number): string[] {
  const parser = new FrameParser();
  const seen: string[] = [];
  try {
    for (let at = 0; at < bytes.length; ) {
      const end = at + 1 + random.below(pieceMax);
      parser.push(Buffer.from(bytes.subarray(at, end)), (frame) => seen.push(show(frame)));
      at = end;
    }
  } catch (error) {
    if (!isProblem(error, 'guest.protocol')) throw error;
    return [...seen, 'bad'];
  }
  return seen;
}

const payload = fc.uint8Array({ maxLength: 300 }).map((b) => Buffer.from(b));
const stream = fc.integer({ min: 1, max: 0xffff_ffff });
const validFrame = fc.oneof(
  fc.tuple(stream, payload).map(([id, p]) => encodeFrame(id, frameTypes.open, p)),
  fc.tuple(stream, payload, fc.integer({ min: 0, max: 2 })).map(([id, p, lane]) => Buffer.concat([encodeHead(p.length, id, frameTypes.data, lane), p])),
  stream.map((id) => encodeFrame(id, frameTypes.end)),
  fc.tuple(stream, payload).map(([id, p]) => encodeFrame(id, frameTypes.reset, p)),
  fc.tuple(stream, fc.nat()).map(([id, credit]) => encodeWindow(id, credit)),
  payload.map((p) => encodeFrame(0, frameTypes.ping, p.subarray(0, 64))),
);
const session = fc.array(validFrame, { minLength: 1, maxLength: 12 }).map((frames) => Buffer.concat(frames));

describe('the frame parser', () => {
  it('gives the same frames however the bytes are cut', () => {
    fc.assert(
      fc.property(session, fc.integer(), (bytes, seed) => {
        const whole = parse(bytes, seededRandom(1), 1 << 20);
        expect(whole.length).toBeGreaterThan(0);
        expect(whole).not.toContain('bad');
        expect(parse(bytes, seededRandom(seed), 7)).toEqual(whole);
      }),
      { seed: 20250301, numRuns: 200 },
    );
  });

  it('does the same with mutated bytes however they are cut, and throws nothing but guest.protocol', () => {
    fc.assert(
      fc.property(session, fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 6 }), fc.integer(), (valid, changes, seed) => {
        const bytes = Buffer.from(valid);
        for (const [at, value] of changes) bytes[at % bytes.length] = value;
        expect(parse(bytes, seededRandom(seed), 9)).toEqual(parse(bytes, seededRandom(1), 1 << 20));
      }),
      { seed: 20250302, numRuns: 400 },
    );
  });

  it('takes random bytes in its stride', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), fc.integer(), (bytes, seed) => {
        parse(Buffer.from(bytes), seededRandom(seed), 50);
      }),
      { seed: 20250303, numRuns: 400 },
    );
  });

  it.each([
    ['a frame over the limit', encodeHead(limits.channel.frameBytes + 1, 1, frameTypes.data, 0)],
    ['the magic of a sync', Buffer.from('ffffffff414c434f56452f31', 'hex')],
    ['an unknown type', encodeHead(0, 1, 8, 0)],
    ['type 0', encodeHead(0, 1, 0, 0)],
    ['an unknown lane', encodeHead(0, 1, frameTypes.data, 3)],
    ['a lane where there is none', encodeHead(0, 1, frameTypes.end, 1)],
    ['data for the channel itself', encodeHead(0, 0, frameTypes.data, 0)],
    ['a ping on a stream', encodeHead(0, 1, frameTypes.ping, 0)],
    ['a long ping', encodeHead(65, 0, frameTypes.ping, 0)],
    ['an END with a payload', encodeHead(1, 1, frameTypes.end, 0)],
    ['a short WINDOW', encodeHead(3, 1, frameTypes.window, 0)],
    ['reserved bytes', Buffer.from('000000000100000002000100', 'hex')],
  ])('refuses %s before its payload has come', (_name, head) => {
    expect(parse(head, seededRandom(1), 100)).toEqual(['bad']);
  });

  it('is deaf after a bad frame', () => {
    const parser = new FrameParser();
    const seen: Frame[] = [];
    expect(() => parser.push(encodeHead(0, 1, 9, 0), (frame) => seen.push(frame))).toThrow();
    parser.push(encodeFrame(1, frameTypes.end), (frame) => seen.push(frame));
    expect(seen).toEqual([]);
  });

  it('takes the longest frame, in one piece and in two', () => {
    const bytes = Buffer.concat([encodeHead(65_536, 1, frameTypes.data, 0), Buffer.alloc(65_536, 5)]);
    for (const pieceMax of [1 << 20, 40_000]) expect(parse(bytes, seededRandom(3), pieceMax)[0]?.length).toBe('2/1/0/'.length + 2 * 65_536);
  });
});
