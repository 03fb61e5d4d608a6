// Makes this process clone-safe: a room starts as a copy of a process that already ran, so a random generator that was seeded before the copy would give the same
// numbers in every room. Everything here takes its bytes from the kernel, which the guest agent reseeds at every claim, at the moment they are asked for.
// The generators inside OpenSSL (TLS) reseed themselves: the claim steps the clock by far more than their reseed interval.
import crypto from 'node:crypto';
import { openSync, readSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const device = openSync('/dev/urandom', 'r');
/** Math.random is called in loops, so it takes its numbers from here; thrown away at every claim. */
const pool = new Uint32Array(256);
let unused = 0;

/** Bytes from the kernel, this moment's. */
export function kernelRandom(count: number): Buffer {
  const bytes = Buffer.alloc(count);
  fill(bytes);
  return bytes;
}

/** OpenSSL's own generator, which TLS uses; only for showing that it differs from room to room. */
export const opensslRandom = crypto.randomBytes;

function fill(bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) {
    done += readSync(device, bytes, done, bytes.length - done, null);
  }
}

/** 53 random bits, as Math.random has them. */
function random(): number {
  if (unused < 2) {
    fill(new Uint8Array(pool.buffer));
    unused = pool.length;
  }
  const high = pool[(unused -= 1)] ?? 0;
  const low = pool[(unused -= 1)] ?? 0;
  return ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53;
}

/** RFC 9562, version 4. */
function randomUUID(): `${string}-${string}-${string}-${string}-${string}` {
  const bytes = kernelRandom(16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

function randomBytes(count: number, callback?: (error: Error | null, bytes: Buffer) => void): Buffer | undefined {
  const bytes = kernelRandom(count);
  if (callback === undefined) return bytes;
  process.nextTick(callback, null, bytes);
  return undefined;
}

function getRandomValues<T extends NodeJS.ArrayBufferView>(view: T): T {
  fill(new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
  return view;
}

/** Replaces the generators that keep a state of their own, for this program and for whatever it imports later. */
export function useFreshRandomness(): void {
  Math.random = random;
  Object.assign(crypto, { randomBytes, randomUUID });
  Object.assign(Object.getPrototypeOf(globalThis.crypto), { getRandomValues, randomUUID });
  syncBuiltinESMExports();
}

/** Throws away every number that was drawn but not used. */
export function forgetDrawnNumbers(): void {
  pool.fill(0);
  unused = 0;
}
