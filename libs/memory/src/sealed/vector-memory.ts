import { assert } from '@alcove/base';
import { scanModule } from './scan-module';
import { wasm, type WasmModule } from './wasm';

type Scan = (query: number, vectors: number, count: number, stride: number, scores: number) => void;

const pageBytes = 65_536;
/** The first page: the query (at most 4096 dimensions), then the scores of one block of vectors. */
const scoresAt = 32_768;
const vectorsAt = pageBytes;
export const blockVectors = 8192;
const laneBytes = 64;

/** Compiled at the first use; null where the machine's WebAssembly has no SIMD. */
let compiled: WasmModule | null | undefined;
function simdModule(): WasmModule | null {
  compiled ??= wasm.validate(scanModule) ? new wasm.Module(scanModule) : null;
  return compiled;
}

/**
 * Vectors side by side in one memory of WebAssembly, each filled up with zeros to a multiple of 16 numbers. wipe() overwrites all of it. Scores are f32 sums in the order
 * of the lanes: within `tolerance` of the exact ones for vectors of length 1.
 */
export class VectorMemory {
  readonly #memory = new wasm.Memory({ initial: 2 });
  readonly #scan: Scan;
  readonly stride: number;
  #capacity: number;
  #view = Buffer.from(this.#memory.buffer);

  /** `simd: false` scans by a plain loop, as a machine without SIMD does. */
  constructor(readonly dimensions: number, options: { simd?: boolean } = {}) {
    assert(dimensions >= 1 && dimensions <= 4096, 'a vector has 1 to 4096 dimensions');
    this.stride = Math.ceil((dimensions * 4) / laneBytes) * laneBytes;
    this.#capacity = Math.floor(pageBytes / this.stride);
    const module = options.simd === false ? null : simdModule();
    this.#scan = module ? (new wasm.Instance(module, { m: { memory: this.#memory } }).exports['scan'] as Scan) : this.#plainScan;
  }

  /** How far a score may be from the exact one: `dimensions` roundings of f32 (2^-24 each) of sums below 1, doubled. */
  get tolerance(): number {
    return this.stride * 2 ** -25;
  }

  get bytes(): number {
    return this.#memory.buffer.byteLength;
  }

  /** Copies the bytes of f32 numbers, little-endian, into a slot. */
  write(slot: number, source: Uint8Array, offset: number): void {
    if (slot >= this.#capacity) this.reserve(Math.max(slot + 1, Math.ceil(this.#capacity * 1.25)));
    // copy() of a Buffer makes no view of the source first: this is done for every vector when an index is opened.
    asBuffer(source).copy(this.#view, vectorsAt + slot * this.stride, offset, offset + this.dimensions * 4);
  }

  /** Makes room for so many at once, which is cheaper than little by little. */
  reserve(slots: number): void {
    if (slots <= this.#capacity) return;
    const missing = vectorsAt + slots * this.stride - this.#memory.buffer.byteLength;
    if (missing > 0) this.#memory.grow(Math.ceil(missing / pageBytes));
    this.#view = Buffer.from(this.#memory.buffer);
    this.#capacity = Math.floor((this.#memory.buffer.byteLength - vectorsAt) / this.stride);
  }

  clear(slot: number): void {
    const start = vectorsAt + slot * this.stride;
    this.#view.fill(0, start, start + this.stride);
  }

  vector(slot: number): Float32Array {
    return new Float32Array(this.#memory.buffer, vectorsAt + slot * this.stride, this.dimensions);
  }

  /** Calls back with the scores of slots first … first + scores.length − 1, block by block; the array is overwritten by the next block. */
  scan(query: Float32Array, count: number, each: (scores: Float32Array, first: number) => void): void {
    assert(query.length === this.dimensions, 'a query has the dimensions of its space');
    assert(count <= this.#capacity, 'only what was written is scanned');
    const place = new Float32Array(this.#memory.buffer, 0, this.stride / 4);
    place.fill(0);
    place.set(query);
    for (let first = 0; first < count; first += blockVectors) {
      const size = Math.min(blockVectors, count - first);
      this.#scan(0, vectorsAt + first * this.stride, size, this.stride, scoresAt);
      each(new Float32Array(this.#memory.buffer, scoresAt, size), first);
    }
    place.fill(0);
  }

  wipe(): void {
    this.#view.fill(0);
  }

  readonly #plainScan: Scan = (query, vectors, count, stride, scores) => {
    const numbers = new Float32Array(this.#memory.buffer);
    const width = stride / 4;
    for (let index = 0; index < count; index++) {
      const [left, right] = [query / 4, vectors / 4 + index * width];
      let sum = 0;
      for (let i = 0; i < width; i++) sum += (numbers[left + i] ?? 0) * (numbers[right + i] ?? 0);
      numbers[scores / 4 + index] = sum;
    }
  };
}

const asBuffer = (bytes: Uint8Array): Buffer => (Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));

/** The exact dot product, to the last bit of a double. */
export function exactDot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] ?? 0) * (b[i] ?? 0);
  return sum;
}
