import { z } from 'zod';
import { Incarnation } from './host-api';
import { RoomIdSchema, roomStates } from './rooms';

/**
 * Edge ⇄ control plane ⇄ host, over mutual TLS. The edge shows a certificate whose common name is `edge`; the control plane's internal listener answers it only on the
 * two paths below, and a host only on its two: `surface/*` (the room's E2B surface, in plain HTTP) and `ports/:port` (a tunnel).
 */
export const edgePaths = {
  /** POST EdgeRouteAsked → EdgeRoute. Never wakes anything. */
  route: '/internal/edge/route',
  /** POST EdgeWakeAsked → EdgeRoute, once the room runs. Problems as those of a wake; `room.not_running` when the room does not wake by itself. */
  wake: '/internal/edge/wake',
  /** Below https://host/rooms/:roomId/incarnations/:n/. `surface/<path>` takes any method. */
  surface: 'surface',
  /** `GET ports/:port` with `connection: upgrade`, `upgrade: alcove-bytes` is answered 101, and then the connection carries the bytes of 127.0.0.1:port in the room. */
  ports: 'ports',
  tunnelProtocol: 'alcove-bytes',
} as const;

export const EdgeRouteAsked = z.strictObject({ roomId: RoomIdSchema });
export type EdgeRouteAsked = z.infer<typeof EdgeRouteAsked>;
/** Asked only after the caller has shown the room's token, where it has one. `timeoutMs`: how long the room is to live at least from now on. */
export const EdgeWakeAsked = z.strictObject({ roomId: RoomIdSchema });
export type EdgeWakeAsked = z.infer<typeof EdgeWakeAsked>;

export const EdgeRoute = z.strictObject({
  state: z.enum([...roomStates, 'unknown']),
  /** Why a room that is gone or failed is so, for the caller to read; null for the others. */
  reason: z.string().nullable(),
  /** Null unless it runs. */
  target: z.strictObject({ hostId: z.string(), hostUrl: z.url(), incarnation: Incarnation }).nullable(),
  /** What must be shown as X-Access-Token, or sign a URL, on the room's surface. Null where there is no room. */
  surfaceToken: z.string().nullable(),
  /** What must be shown as E2B-Traffic-Access-Token on every other port; null: these are public. */
  trafficToken: z.string().nullable(),
  /** Replaces the Host header on the way to a port; `${PORT}` stands for the port. */
  maskRequestHost: z.string().nullable(),
  /** Any request that shows its token wakes the room. */
  autoResume: z.boolean(),
});
export type EdgeRoute = z.infer<typeof EdgeRoute>;
