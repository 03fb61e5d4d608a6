import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { limits } from '@alcove/base';
import type { Exchange } from './exchange';
import { answerHeaders, pairs } from './headers';
import { deliver, send } from './passage';

type Upgrade = NonNullable<Exchange['upgrade']>;

/**
 * Sends a request that asks for another protocol. When upstream switches, the two connections are joined, and this resolves once both have ended; an ordinary answer, such
 * as a refusal, is delivered. Rejects as send().
 */
export async function sendUpgrade(exchange: Exchange, outgoing: ClientRequest): Promise<true> {
  const { upgrade } = exchange;
  if (!upgrade) throw new Error('not an upgrade');
  const switched = new Promise<{ head: IncomingMessage; socket: Duplex; early: Buffer }>((resolve) => {
    outgoing.once('upgrade', (head, socket, early) => resolve({ head, socket, early }));
  });
  const outcome = await Promise.race([switched, send(exchange, outgoing, { kind: 'none' }, 'upgrade')]);
  if (!('early' in outcome)) {
    await deliver(exchange, outgoing, outcome);
    return true;
  }
  const { head, socket, early } = outcome;
  exchange.handOver();
  if (early.length > 0) socket.unshift(early);
  upgrade.socket.write(switchingHead(head, upgrade), 'latin1');
  if (upgrade.head.length > 0) socket.write(upgrade.head);
  await join(upgrade.socket, socket);
  return true;
}

function switchingHead(head: IncomingMessage, { protocol }: Upgrade): string {
  const kept = [...pairs(answerHeaders(head.rawHeaders))].map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${head.headers.upgrade ?? protocol}\r\n${kept.join('')}\r\n`;
}

/** Passes bytes both ways, as fast as the slower side takes them, until either side is gone or nothing moves for too long. Resolves when both have closed. */
async function join(left: Duplex, right: Duplex): Promise<void> {
  const end = (): void => {
    left.destroy();
    right.destroy();
  };
  const timer = setTimeout(end, limits.edge.idleMs);
  const closed = [left, right].map((side) => new Promise<void>((resolve) => side.once('close', resolve)));
  for (const [from, to] of [[left, right], [right, left]] as const) {
    from.on('error', end);
    from.on('data', () => timer.refresh());
    // What one side said before it closed still goes to the other.
    from.once('close', () => (from.readableEnded ? to.end(() => to.destroy()) : end()));
    from.pipe(to);
  }
  if (left.destroyed || right.destroyed) end();
  await Promise.all(closed);
  clearTimeout(timer);
}
