import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import { type Accelerator } from './qemu.args';
import { cpuModelOf } from './engine';

/**
 * A whole guest in 49 bytes of 16-bit code, in place of firmware: it waits for a byte on the serial port and answers with its time-stamp counter (8 bytes, little-endian).
 * An answer shows that this accelerator really runs instructions; two answers some time apart show how fast the counter counts.
 */
const program = Buffer.from(
  [
    'bafd03 ec a801 74fb', // mov dx,3fdh · rx: in al,dx · test al,1 · jz rx        (line status: data ready)
    'baf803 ec', //           mov dx,3f8h · in al,dx
    '0f31 6689c6 6689d7', //  rdtsc · mov esi,eax · mov edi,edx
    'baf803 b90400', //       mov dx,3f8h · mov cx,4
    '89f0 ee 66c1ee08 e2f7', // mov ax,si · out dx,al · shr esi,8 · loop
    'b90400', //              mov cx,4
    '89f8 ee 66c1ef08 e2f7', // mov ax,di · out dx,al · shr edi,8 · loop
    'ebcf', //                jmp to the start
  ]
    .join('')
    .replaceAll(' ', ''),
  'hex',
);

const firmwareBytes = 65_536;
const entry = 0xf000;
const resetVector = 0xfff0;

function firmware(): Buffer {
  const image = Buffer.alloc(firmwareBytes, 0xf4); // hlt
  program.copy(image, entry);
  image[resetVector] = 0xe9; // jmp near, relative to the next instruction
  image.writeInt16LE(entry - (resetVector + 3), resetVector + 1);
  return image;
}

export interface TinyGuestReport {
  /** Thousands of counts of the guest's time-stamp counter in a second. */
  tscKhz: number;
}

const answerMs = 5_000;
const measureMs = 300;
const samples = 6;

/** Runs the tiny guest. Problem `engine.failed` with the VMM's own words when it does not answer within a few seconds. */
export async function runTinyGuest(qemuPath: string, accelerator: Accelerator, clock: Clock): Promise<TinyGuestReport> {
  const folder = await mkdtemp(join(tmpdir(), 'alcove-probe-'));
  const image = join(folder, 'firmware');
  await writeFile(image, firmware());
  const child = spawn(
    qemuPath,
    [
      ...['-machine', 'microvm,isa-serial=on', '-accel', accelerator, '-cpu', cpuModelOf(accelerator), '-m', '16M', '-bios', image],
      ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none', '-serial', 'stdio'],
    ],
    { stdio: ['pipe', 'pipe', 'pipe'] },
  );
  try {
    const guest = new TinyGuest(child, clock);
    const before = await guest.bestSample();
    await clock.sleep(measureMs);
    const after = await guest.bestSample();
    return { tscKhz: Math.round(Number(after.counter - before.counter) / (after.at - before.at)) };
  } finally {
    child.kill('SIGKILL');
    await rm(folder, { recursive: true, force: true });
  }
}

interface Sample {
  counter: bigint;
  /** The middle of question and answer. */
  at: number;
  roundTripMs: number;
}

class TinyGuest {
  readonly #child: ChildProcess;
  readonly #clock: Clock;
  readonly #ended: Promise<never>;
  #words = '';
  #received = Buffer.alloc(0);
  #wake: () => void = () => undefined;

  constructor(child: ChildProcess, clock: Clock) {
    this.#child = child;
    this.#clock = clock;
    child.stdin?.on('error', () => undefined);
    child.stdout?.on('data', (part: Buffer) => {
      this.#received = Buffer.concat([this.#received, part]).subarray(-64);
      this.#wake();
    });
    child.stderr?.on('data', (part: Buffer) => {
      this.#words = (this.#words + part.toString('utf8')).slice(-2000);
    });
    this.#ended = new Promise<never>((_, reject) => {
      child.once('error', (error) => reject(new Problem('engine.failed', { detail: 'QEMU cannot be started', cause: error })));
      child.once('close', () => reject(new Problem('engine.failed', { detail: this.#words.trim().split('\n')[0] || 'it ended' })));
    });
    this.#ended.catch(() => undefined);
  }

  /** The one with the shortest way of some questions. */
  async bestSample(): Promise<Sample> {
    let best = await this.#sample();
    for (let index = 1; index < samples; index++) {
      const next = await this.#sample();
      if (next.roundTripMs < best.roundTripMs) best = next;
    }
    return best;
  }

  async #sample(): Promise<Sample> {
    this.#received = Buffer.alloc(0);
    const asked = this.#clock.monotonic();
    this.#child.stdin?.write('?');
    const over = new AbortController();
    const timeout = this.#clock.sleep(answerMs, over.signal).then(() => Promise.reject(new Problem('engine.failed', { detail: 'a tiny guest does not run' })));
    timeout.catch(() => undefined);
    try {
      while (this.#received.length < 8) {
        const more = new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        await Promise.race([more, this.#ended, timeout]);
      }
    } finally {
      over.abort();
    }
    const answered = this.#clock.monotonic();
    return { counter: this.#received.readBigUInt64LE(), at: (asked + answered) / 2, roundTripMs: answered - asked };
  }
}
