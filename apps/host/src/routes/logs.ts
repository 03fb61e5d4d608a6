import { LogsQuery } from '@alcove/contracts';
import { type Exchange, readQuery, writeWithPressure } from '../http/answer';
import { quieted } from '../http/body';
import type { Route } from '../http/server';
import type { RoomStream } from '../rooms/live-guest';
import type { Rooms } from '../rooms/rooms';
import { roomOf } from './room-params';

/** `GET logs`: what the agent in the room wrote, as bytes; `follow` stays open until the room ends or the caller leaves. */
export function logsRoute(rooms: Rooms): Route {
  return {
    method: 'GET',
    path: '/rooms/:roomId/incarnations/:n/logs',
    handle: async (exchange) => {
      const room = roomOf(exchange);
      const order = readQuery(exchange.query, LogsQuery);
      const stream = await rooms.openStream(room);
      try {
        await send(exchange, order, stream);
      } finally {
        stream.close();
      }
    },
  };
}

async function send({ response, gone }: Exchange, order: LogsQuery, stream: RoomStream): Promise<void> {
  const signal = AbortSignal.any([gone, stream.signal]);
  const bytes = quieted(await stream.guest.logs(order, signal));
  response.writeHead(200, { 'content-type': 'application/octet-stream', 'cache-control': 'no-store' });
  response.flushHeaders();
  try {
    for await (const chunk of bytes as AsyncIterable<Buffer>) await writeWithPressure(response, chunk, signal);
  } catch (error) {
    // Whoever follows wants to know no more than that there is no more.
    if (!order.follow || gone.aborted) throw error;
  } finally {
    bytes.destroy();
  }
  response.end();
}
