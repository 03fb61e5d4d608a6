import type { Duplex } from 'node:stream';
import { isProblem, Problem } from '@alcove/contracts';
import type { GuestSession } from '@alcove/runtime';
import { quieted } from '../http/body';

/**
 * Bytes to and from 127.0.0.1:port in the room; resolves once somebody listens there. Problems: `agent.unreachable` (nobody does), `guest.unsupported` (a room made
 * before its guest could say so), `guest.*`.
 */
export async function openTunnel(guest: GuestSession, port: number, signal: AbortSignal): Promise<Duplex> {
  try {
    return quieted(await guest.connect(port, 0, signal, { hello: true }));
  } catch (error) {
    if (signal.aborted) throw signal.reason as Error;
    if (isProblem(error, 'request.invalid')) throw new Problem('guest.unsupported', { cause: error });
    if (isProblem(error, 'agent.unreachable')) throw new Problem('agent.unreachable', { cause: error, detail: `nothing listens on port ${port} in the room` });
    throw error;
  }
}

/** Joins two streams, each half for itself, no faster than the slower end reads. Resolves when both directions have ended; rejects when either end broke off: the other is then for the caller to destroy. */
export function join(a: Duplex, b: Duplex): Promise<void> {
  return new Promise((resolve, reject) => {
    let open = 2;
    for (const [end, other] of [[a, b], [b, a]] as const) {
      end.on('error', () => undefined);
      end.once('close', () => {
        open -= 1;
        // One that has said everything and takes no more is no failure: what the other still says has no reader.
        const whole = end.readableEnded && end.errored === null;
        if (!whole) reject(end.errored ?? new Problem('guest.closed', { detail: 'one end of a tunnel broke off' }));
        else if (open === 0) resolve();
        else if (!end.writableFinished) other.unpipe(end).resume();
      });
    }
    a.pipe(b);
    b.pipe(a);
  });
}
