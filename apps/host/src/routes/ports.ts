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
      const stream = await rooms.openStream({ roomId, incarnation });
      try {
        const signal = AbortSignal.any([exchange.gone, stream.signal]);
        const inside = await openTunnel(stream.guest, port, signal);
        await carry(connection, inside, stream.signal);
      } finally {
        stream.close();
      }
    },
  };
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
