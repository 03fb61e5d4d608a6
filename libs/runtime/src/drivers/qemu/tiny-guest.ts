import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import { type Accelerator } from './qemu.args';
import { cpuModelOf } from './engine';

/**
 * A whole guest in 198 bytes, in place of firmware. It goes to 64-bit mode as a kernel does (one identity-mapped page of 2 MiB), waits for a byte on the serial port and answers with its time-stamp counter
 * (8 bytes, little-endian); after a `!` it first counts down from 4 Mi. An answer shows that this accelerator really runs instructions; two answers some time apart show how fast the counter counts; and the
 * time of a countdown shows whether the processor runs them or something interprets them one by one, as KVM does on some paravirtual hosts: there a kernel would need minutes for its first word.
 */
const program = Buffer.from(
  [
    // 16 bit, where the firmware lies
    'fa 31c0 8ed8 8ec0 bc0070', //            cli · xor ax,ax · mov ds,ax · mov es,ax · mov sp,7000h
    'c70600100320 c70600200330 c70600308300', // mov word [1000h],2003h · [2000h],3003h · [3000h],83h  (page tables)
    'be0000 81c600f0 bf0080 b90001 fc 2ef3a4', // mov si,0 · add si,f000h · mov di,8000h · mov cx,256 · cld · rep movsb es:[di],cs:[si]
    'ea32800000', //                          jmp 0:8032h                                       (the copy, from here on)
    '660f0116c080', //                        lgdt [80c0h]
    '0f20e0 0c20 0f22e0', //                  mov eax,cr4 · or al,20h · mov cr4,eax             (physical addresses of 64 bits)
    '66b800100000 0f22d8', //                 mov eax,1000h · mov cr3,eax
    '66b9800000c0 0f32 80cc01 0f30', //       mov ecx,c0000080h · rdmsr · or ah,1 · wrmsr       (EFER: long mode)
    '0f20c0 660d01000080 0f22c0', //          mov eax,cr0 · or eax,80000001h · mov cr0,eax      (paging and protection)
    '66ea6a8000000800', //                    jmp 8:806ah
    // 64 bit
    'bafd030000 ec a801 74f6', //             rx: mov edx,3fdh · in al,dx · test al,1 · jz rx   (line status: data ready)
    'baf8030000 ec 3c21 7509', //             mov edx,3f8h · in al,dx · cmp al,"!" · jne answer
    'b900004000 ffc9 75fc', //                mov ecx,400000h · work: dec ecx · jnz work
    '0f31 48c1e220 4809d0 4889c6', //         answer: rdtsc · shl rdx,32 · or rax,rdx · mov rsi,rax
    'baf8030000 b908000000', //               mov edx,3f8h · mov ecx,8
    '89f0 ee 48c1ee08 ffc9 75f5 ebc0', //     tx: mov eax,esi · out dx,al · shr rsi,8 · dec ecx · jnz tx · jmp rx
    '660f1f440000', //                        (to a multiple of 8)
    '0000000000000000 ffff0000009aaf00', //   b0h: no segment · a code segment of 64 bits
    '0f00b0800000', //                        c0h: two segments, at 80b0h
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
/** For 8 Mi instructions: some 3 ms under KVM, 20 ms under emulation, 8 s where KVM interprets. */
const workMs = 2_000;
const measureMs = 300;
const samples = 6;

/** Runs the tiny guest. Problem `engine.failed`, with the VMM's own words where there are some, when it does not answer within a few seconds or runs too slowly for any kernel. */
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
    await guest.ask('!', workMs, 'it runs, but so slowly that a kernel would not come up');
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
    let best = await this.ask('?');
    for (let index = 1; index < samples; index++) {
      const next = await this.ask('?');
      if (next.roundTripMs < best.roundTripMs) best = next;
    }
    return best;
  }

  /** `!` is answered after the work. */
  async ask(question: '?' | '!', withinMs = answerMs, otherwise = 'a tiny guest does not run'): Promise<Sample> {
    this.#received = Buffer.alloc(0);
    const asked = this.#clock.monotonic();
    this.#child.stdin?.write(question);
    const over = new AbortController();
    const timeout = this.#clock.sleep(withinMs, over.signal).then(() => Promise.reject(new Problem('engine.failed', { detail: otherwise })));
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
