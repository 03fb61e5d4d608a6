/**
 * The dot products of one vector with many, as a WebAssembly module with SIMD, written by hand here because it is a page of instructions: no compiler, no binary in the
 * repository. Opcodes are those of the core specification 2.0 (https://webassembly.github.io/spec/core/binary/), which has the 128-bit vectors.
 *
 *   scan(query, vectors, count, stride, scores): for each of `count` vectors of `stride` bytes (a multiple of 64) one f32 is written.
 */

const [i32, v128] = [0x7f, 0x7b];
const nothing = 0x40;

/** Unsigned LEB128. */
function unsigned(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}
const vector = (items: number[][]): number[] => [...unsigned(items.length), ...items.flat()];
const section = (id: number, body: number[]): number[] => [id, ...unsigned(body.length), ...body];
const name = (text: string): number[] => vector([...Buffer.from(text)].map((byte) => [byte]));

const get = (local: number): number[] => [0x20, local];
const set = (local: number): number[] => [0x21, local];
const constant = (value: 0 | 1 | 4): number[] => [0x41, value];
/** 64 as a signed LEB128, which needs a second byte for the sign. */
const sixtyFour = [0x41, 0xc0, 0x00];
const [add, subtract, isZero, isLess] = [[0x6a], [0x6b], [0x45], [0x49]];
const simd = (opcode: number, ...rest: number[]): number[] => [0xfd, ...unsigned(opcode), ...rest];
const load = (address: number, offset: number): number[] => [...get(address), ...simd(0x00, 4, offset)];
const zero = simd(0x0c, ...Array<number>(16).fill(0));
const [multiply, plus] = [simd(0xe6), simd(0xe4)];
const lane = (index: number): number[] => simd(0x1f, index);
const [addF32, storeF32] = [[0x92], [0x38, 2, 0]];
const [block, loop, end, branch, branchIf] = [[0x02, nothing], [0x03, nothing], [0x0b], 0x0c, 0x0d];

/** Parameters, then locals. */
const [query, vectors, count, stride, scores, at, stop, a0, a1, a2, a3] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10] as const;
const sums = [a0, a1, a2, a3] as const;

/** Four sums side by side: an addition waits for the one before it, so one sum alone would leave the processor idle. */
const accumulate = sums.flatMap((sum, index) => [...get(sum), ...load(vectors, index * 16), ...load(at, index * 16), ...multiply, ...plus, ...set(sum)]);
const dot = [
  ...sums.flatMap((sum) => [...zero, ...set(sum)]),
  ...get(query), ...set(at),
  ...get(vectors), ...get(stride), ...add, ...set(stop),
  ...loop,
  ...accumulate,
  ...get(at), ...sixtyFour, ...add, ...set(at),
  ...get(vectors), ...sixtyFour, ...add, ...set(vectors),
  ...get(vectors), ...get(stop), ...isLess, branchIf, 0,
  ...end,
  ...get(a0), ...get(a1), ...plus, ...get(a2), ...get(a3), ...plus, ...plus, ...set(a0),
];
const lanes = [...get(a0), ...lane(0), ...[1, 2, 3].flatMap((index) => [...get(a0), ...lane(index), ...addF32])];
const body = [
  ...block, ...loop,
  ...get(count), ...isZero, branchIf, 1,
  ...dot,
  ...get(scores), ...lanes, ...storeF32,
  ...get(scores), ...constant(4), ...add, ...set(scores),
  ...get(count), ...constant(1), ...subtract, ...set(count),
  branch, 0,
  ...end, ...end, ...end,
];
const locals = vector([[2, i32], [4, v128]]);
const code = [...locals, ...body];

/** Imports its memory (`m.memory`), exports `scan`. */
export const scanModule = Uint8Array.from([
  0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
  ...section(1, vector([[0x60, ...vector([[i32], [i32], [i32], [i32], [i32]]), 0]])),
  ...section(2, vector([[...name('m'), ...name('memory'), 0x02, 0x00, 1]])),
  ...section(3, vector([[0]])),
  ...section(7, vector([[...name('scan'), 0x00, 0]])),
  ...section(10, vector([[...unsigned(code.length), ...code]])),
]);
