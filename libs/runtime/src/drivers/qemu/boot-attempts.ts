import { type Clock, limits, type Log } from '@alcove/base';
import { isProblem, Problem } from '@alcove/contracts';
import { openGuestSession } from '../../guest-channel/session';
import type { GuestSession } from '../../guest-session';
import type { QemuEngine } from './engine';
import type { Vmm } from './vmm';

/**
 * What a kernel is always told. `init_on_free`: freed pages become zero, so images are smaller and freed secrets do not survive in them. The machine ends at a reset and
 * at a panic, which the driver reports.
 */
const always = 'console=ttyS0 reboot=t panic=-1 init_on_free=1';

/**
 * With emulated processors the kernel's calibration of the time-stamp counter against the (emulated) timer chip fails whenever the host is busy, and it then waits for
 * ever for ticks that do not come: so it is told the rate that the probe has measured, and not to doubt it later.
 */
export function kernelCommandLine(engine: QemuEngine): string {
  if (engine.accelerator === 'kvm' || engine.tscKhz === undefined) return always;
  return `${always} tsc_early_khz=${engine.tscKhz} tsc=reliable`;
}

export interface Booted {
  vmm: Vmm;
  guest: GuestSession;
  attempts: number;
}

/** A silent kernel is given up after `limits.boot.deadlineMs`; a slow one, on a busy machine, after this. */
const bootMsMax = 90_000;
const lookMs = 500;

/**
 * Boots a kernel until the guest agent answers. A boot whose console says nothing for `limits.boot.deadlineMs` hangs, and is tried again. Problem `engine.failed` after
 * the last attempt.
 */
export async function bootWithAttempts(launch: (attempt: number) => Promise<Vmm>, about: { clock: Clock; log: Log; signal?: AbortSignal }): Promise<Booted> {
  for (let attempt = 1; ; attempt++) {
    about.signal?.throwIfAborted();
    const vmm = await launch(attempt);
    try {
      await untilUserSpace(vmm, about);
      const guest = await openSession(vmm, about);
      return { vmm, guest, attempts: attempt };
    } catch (error) {
      await vmm.kill();
      if (about.signal?.aborted || !isProblem(error)) throw error;
      about.log.warn({ attempt, console: vmm.console.slice(-2000), cause: error.message }, 'a boot did not come to user space');
      if (attempt === limits.boot.attempts) throw new Problem('engine.failed', { detail: `the guest did not boot in ${attempt} attempts`, cause: error });
    }
  }
}

/** Resolves when the guest agent opens the channel; rejects when the kernel hangs, the VMM ends or the signal is aborted. */
async function untilUserSpace(vmm: Vmm, about: { clock: Clock; signal?: AbortSignal }): Promise<void> {
  let opened = false;
  const open = vmm.guestOpenedChannel(bootMsMax).then(() => {
    opened = true;
  });
  open.catch(() => undefined);
  let lastWord = about.clock.monotonic();
  while (!opened) {
    await Promise.race([open, about.clock.sleep(lookMs, about.signal)]);
    if (await vmm.readConsole()) lastWord = about.clock.monotonic();
    const silentMs = about.clock.monotonic() - lastWord;
    if (!opened && silentMs > limits.boot.deadlineMs) throw new Problem('engine.failed', { detail: `the kernel said nothing for ${Math.round(silentMs)} ms` });
  }
}

/** Connects to a VMM's guest channel and synchronises. */
export async function openSession(vmm: Vmm, about: { clock: Clock; log: Log; signal?: AbortSignal }): Promise<GuestSession> {
  return openGuestSession(await vmm.connectChannel(), about);
}
