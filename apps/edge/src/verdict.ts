import { isProblem, type EdgeRoute } from '@alcove/contracts';
import { sameText, surfaceAccess, type SurfaceAsked } from './access';
import { surfacePort, type RoomAddress } from './addresses';
import { Refusal, replies, type Reply } from './replies';
import type { Target } from './upstream';

/** What is to be done with a request to a room. Pure: three outcomes, the caller performs one. */
export type Verdict =
  | { readonly kind: 'pass'; readonly by: By; readonly target: Target }
  | { readonly kind: 'wake'; readonly by: By }
  /** `about`: `token` where the token of the surface was not shown. That one stays the same while the room lives, whatever else is changed about it. */
  | { readonly kind: 'refuse'; readonly about: 'token' | 'room'; readonly reply: Reply };

/** Who shows the room's token itself is its `owner`; on its ports, and with a signed address of a file, anybody may come. */
export type By = 'owner' | 'stranger';

export interface RoomRequest {
  readonly address: RoomAddress;
  /** Null on a port that is not the surface's. */
  readonly surface: SurfaceAsked | null;
  readonly trafficToken: string | undefined;
  /** The debug listener's: needs no token. */
  readonly trusted: boolean;
  readonly nowS: number;
}

/** Asleep, or on the way there: a wake is kept and honoured. */
const asleep = new Set<EdgeRoute['state']>(['absent', 'hibernating', 'hibernated', 'failed']);
const rising = new Set<EdgeRoute['state']>(['provisioning', 'resuming']);

export function judge(asked: RoomRequest, route: EdgeRoute): Verdict {
  const { sandboxId } = asked.address;
  const notFound = refuse(replies.notFound(sandboxId, route.reason));
  const isRunning = route.state === 'running' && route.target !== null;
  if (!isRunning && !asleep.has(route.state) && !rising.has(route.state)) return notFound;
  // Nobody learns more of a room that does not answer than that it does not.
  if (asleep.has(route.state) && !route.autoResume) return notFound;
  const access = accessOf(asked, route);
  if (access === 'none') return notFound;
  const by: By = access === 'shown' && asked.surface !== null && (asked.trusted || asked.surface.token) ? 'owner' : 'stranger';
  if (isRunning && route.target) return access === 'shown' || access === 'open' ? { kind: 'pass', by, target: route.target } : refuse(access, asked.surface ? 'token' : 'room');
  if (asked.address.port !== surfacePort && typeof access !== 'string') return refuse(access);
  if (access === 'shown' && route.autoResume) return { kind: 'wake', by };
  return rising.has(route.state) ? refuse(replies.moving(sandboxId)) : notFound;
}

/** `shown`: opened by a token, or open to everybody; `open`: without one, for what runs; `none`: there is nothing that could open it. */
function accessOf({ address, surface, trafficToken, trusted, nowS }: RoomRequest, route: EdgeRoute): 'shown' | 'open' | 'none' | Reply {
  if (surface === null) {
    if (route.trafficToken === null || (trafficToken !== undefined && sameText(trafficToken, route.trafficToken))) return 'shown';
    return replies.trafficToken(address.sandboxId, trafficToken !== undefined);
  }
  if (route.surfaceToken === null) return 'none';
  if (trusted) return 'shown';
  const access = surfaceAccess(surface, route.surfaceToken, nowS);
  return access.kind === 'refused' ? replies.unauthorized(access.message) : access.kind;
}

function refuse(reply: Reply, about: 'token' | 'room' = 'room'): Verdict {
  return { kind: 'refuse', about, reply };
}

/** The answer for a wake or a question that the control plane refused. */
export function refusalOf(sandboxId: string, error: unknown): Refusal {
  if (!isProblem(error)) return new Refusal(replies.cannotNow(sandboxId, 'internal'), error);
  if (error.code === 'room.busy') return new Refusal(replies.moving(sandboxId), error);
  if (error.code === 'room.held' || error.code === 'auth.scope') return new Refusal(replies.resumeDenied(sandboxId, error.code), error);
  if (['room.not_running', 'room.not_found', 'room.gone', 'room.frozen', 'request.invalid'].includes(error.code)) return new Refusal(replies.notFound(sandboxId, error.detail ?? null), error);
  return new Refusal(replies.cannotNow(sandboxId, error.code), error);
}
