import { limits } from '@alcove/base';
import { edgePaths, Problem } from '@alcove/contracts';
import { z } from 'zod';
import { check } from '../http/answer';
import type { Connection, Route } from '../http/server';
import type { Rooms } from '../rooms/rooms';
import { join, openTunnel } from '../services/tunnel';
import { roomOf } from './room-params';

const Port = z.string().regex(/^[1-9]\d{0,4}$/).transform(Number).pipe(z.int().max(65_535));

/**
 * `GET ports/:port` with `upgrade: alcove-bytes`: 101, and then the connection carries the bytes of that port in the room, each half ended for itself. Nobody listens:
 * `agent.unreachable`, in HTTP. When the room sleeps or ends, the connection is reset.
 */
export function portsRoute(rooms: Rooms): Route {
  const tunnels = new Tunnels(limits.hostAgent.portsPerRoom, limits.hostAgent.ports);
  return {
    method: 'GET',
    path: `/rooms/:roomId/incarnations/:n/${edgePaths.ports}/:port`,
    alsoFor: 'edge',
    handle: async () => {
      throw new Problem('request.invalid', { detail: `this is a tunnel: ask for it with upgrade: ${edgePaths.tunnelProtocol}` });
    },
    upgrade: async (exchange, connection) => {
      const { roomId, incarnation } = roomOf(exchange);
      const { port } = check(z.object({ port: Port }), exchange.params);
      const leave = tunnels.enter(roomId);
      const stream = await rooms.openStream({ roomId, incarnation }).catch((error: unknown) => {
        leave();
        throw error;
      });
      try {
        const signal = AbortSignal.any([exchange.gone, stream.signal]);
        const inside = await openTunnel(stream.guest, port, signal);
        await carry(connection, inside, stream.signal);
      } finally {
        stream.close();
        leave();
      }
    },
  };
}

/** Ports may be anybody's to call: all tunnels of a room together leave some of its streams to its owner, and all of this host some of its connections to other calls. */
export class Tunnels {
  readonly #open = new Map<string, number>();
  #all = 0;
  constructor(
    private readonly perRoom: number,
    private readonly most: number,
  ) {}

  /** Returns what must be called once the tunnel is over. Problem `guest.limit`. */
  enter(roomId: string): () => void {
    const open = this.#open.get(roomId) ?? 0;
    if (open >= this.perRoom) throw new Problem('guest.limit', { detail: 'too many connections to ports of this room at once' });
    if (this.#all >= this.most) throw new Problem('guest.limit', { detail: 'too many connections to ports of rooms on this host at once' });
    this.#open.set(roomId, open + 1);
    this.#all += 1;
    return () => {
      this.#all -= 1;
      const left = (this.#open.get(roomId) ?? 1) - 1;
      if (left > 0) this.#open.set(roomId, left);
      else this.#open.delete(roomId);
    };
  }
}

async function carry({ socket, head, cut }: Connection, inside: Awaited<ReturnType<typeof openTunnel>>, ended: AbortSignal): Promise<void> {
  const end = () => inside.destroy(ended.reason as Error);
  ended.addEventListener('abort', end, { once: true });
  try {
    if (ended.aborted || socket.destroyed) throw ended.reason as Error;
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ${edgePaths.tunnelProtocol}\r\n\r\n`);
    if (head.length > 0) inside.write(head);
    await join(socket, inside);
  } catch {
    // Answered already: all that can be said is that it is not whole.
    cut();
  } finally {
    ended.removeEventListener('abort', end);
    inside.destroy();
  }
}
