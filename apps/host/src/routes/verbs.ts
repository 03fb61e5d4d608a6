import { EnsureCopied, EnsureGone, EnsureRunning, EnsureSealed } from '@alcove/contracts';
import { readJson, sendJson } from '../http/answer';
import type { Route } from '../http/server';
import type { Rooms } from '../rooms/rooms';
import { roomOf } from './room-params';

/** The ensure-verbs. A caller that goes away does not stop a verb: its retry finds the outcome. */
export function verbRoutes(rooms: Rooms): Route[] {
  return [
    {
      method: 'PUT',
      path: '/rooms/:roomId/incarnations/:n/running',
      handle: async (exchange) => {
        const { roomId, incarnation } = roomOf(exchange);
        const order = await readJson(exchange.request, EnsureRunning);
        sendJson(exchange.response, 200, await rooms.runner(roomId).ensureRunning(incarnation, order));
      },
    },
    {
      method: 'PUT',
      path: '/rooms/:roomId/incarnations/:n/sealed',
      handle: async (exchange) => {
        const { roomId, incarnation } = roomOf(exchange);
        const order = await readJson(exchange.request, EnsureSealed);
        sendJson(exchange.response, 200, await rooms.runner(roomId).ensureSealed(incarnation, order));
      },
    },
    {
      method: 'PUT',
      path: '/rooms/:roomId/incarnations/:n/copied',
      handle: async (exchange) => {
        const { roomId, incarnation } = roomOf(exchange);
        const order = await readJson(exchange.request, EnsureCopied);
        sendJson(exchange.response, 200, await rooms.runner(roomId).ensureCopied(incarnation, order, rooms.runner(order.source.image.roomId)));
      },
    },
    {
      method: 'PUT',
      path: '/rooms/:roomId/incarnations/:n/gone',
      handle: async (exchange) => {
        const { roomId, incarnation } = roomOf(exchange);
        const order = await readJson(exchange.request, EnsureGone);
        sendJson(exchange.response, 200, await rooms.runner(roomId).ensureGone(incarnation, order));
      },
    },
  ];
}
