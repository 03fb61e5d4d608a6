import type { Clock } from '@alcove/base';
import type { GuestSession } from '@alcove/runtime';
import type { Exchange } from '../http/answer';
import type { Rooms } from '../rooms/rooms';
import type { Figures } from '../services/figures';
import type { EventStream } from './event-stream';
import type { Watchers } from './watchers';

/** What a room's surface is made of. */
export interface SurfaceParts {
  rooms: Rooms;
  figures: Figures;
  watchers: Watchers;
  clock: Clock;
}

/** One call on the surface of a running room. */
export interface Call {
  readonly parts: SurfaceParts;
  readonly exchange: Exchange;
  readonly room: { roomId: string; incarnation: number };
  readonly guest: GuestSession;
  /** Ends with the caller, with the room, and with the call's own time. */
  readonly signal: AbortSignal;
  /** Whom the caller names; undefined for the default. */
  readonly user: string | undefined;
  /** How long the caller gives it, in milliseconds; undefined for ever. */
  readonly timeoutMs: number | undefined;
}

export type UnaryCall = (call: Call, message: unknown) => Promise<unknown>;
export interface StreamCall {
  /** The message that says that there is nothing to say. */
  keepAlive: unknown;
  /** The call's time is the guest's to keep. */
  ownTime?: true;
  run: (call: Call, message: unknown, events: EventStream) => Promise<void>;
}
