import { constants } from 'node:os';
import { Problem } from '@alcove/contracts';
import type { GuestSession, ProcessName } from '@alcove/runtime';
import { z } from 'zod';

/** A signal by its number or its name in signal(7). */
export const ProcessSignal = z.strictObject({ signal: z.union([z.int().min(1).max(64), z.string().regex(/^SIG[A-Z0-9]{1,16}$/)]) });

/** The number of a signal. Problem `request.invalid`. */
export function signalNumber(signal: number | string): number {
  if (typeof signal === 'number') return signal;
  const number = (constants.signals as Record<string, number | undefined>)[signal];
  if (number === undefined) throw new Problem('request.invalid', { detail: `there is no signal ${signal}` });
  return number;
}

/** Gives bytes to a process; nothing at all, and no end of input, is nothing to do. */
export async function giveInput(guest: GuestSession, which: ProcessName, data: Buffer, close: boolean, signal: AbortSignal): Promise<void> {
  if (data.length === 0 && !close) return;
  await guest.writeProcess(which, data, { close }, signal);
}
