import { pipeline } from 'node:stream/promises';
import { LogsQuery } from '@alcove/contracts';
import { readQuery } from '../http/answer';
import { quieted } from '../http/body';
import type { Route } from '../http/server';
import type { Rooms } from '../rooms/rooms';
import { roomOf } from './room-params';

/** `GET logs`: what the agent in the room wrote, as bytes; `follow` stays open until the room ends or the caller leaves. */
export function logsRoute(rooms: Rooms): Route {
  return {
    method: 'GET',
    path: '/rooms/:roomId/incarnations/:n/logs',
    handle: async (exchange) => {
      const { roomId, incarnation } = roomOf(exchange);
      const order = readQuery(exchange.query, LogsQuery);
      const stream = rooms.runner(roomId).stream(incarnation);
      try {
        const signal = AbortSignal.any([exchange.gone, stream.signal]);
        const bytes = quieted(await stream.guest.logs(order, signal));
        exchange.response.writeHead(200, { 'content-type': 'application/octet-stream', 'cache-control': 'no-store' });
        exchange.response.flushHeaders();
        try {
          await pipeline(bytes, exchange.response, { signal });
        } finally {
          bytes.destroy();
        }
      } finally {
        stream.close();
      }
    },
  };
}
