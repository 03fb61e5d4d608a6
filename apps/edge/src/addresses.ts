import { isIP } from 'node:net';
import type { RoomId } from '@alcove/base';
import { roomIdOf } from '@alcove/contracts';

/** Where a request wants to go, read from its host name alone. Pure. */
export type Destination =
  | { readonly kind: 'api' }
  | RoomAddress
  /** Below our domain, but the name of nothing. */
  | { readonly kind: 'nothing' }
  /** A host that we do not serve. */
  | { readonly kind: 'foreign' }
  | { readonly kind: 'bad' };

export interface RoomAddress {
  readonly kind: 'room';
  /** As the caller wrote it, in lower case. */
  readonly sandboxId: string;
  /** Null: no room can be called that. */
  readonly roomId: RoomId | null;
  readonly port: number;
}

/** The port of a room's surface: not one of the guest's. */
export const surfacePort = 49_983;

/** What may stand for a host name: the Host header, or `:authority`. `host:port`, the port ignored, a dot at the end too. */
const authorityForm = /^(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9._-]{1,253}?)\.?)(?::\d{1,5})?$/;

/** The bare host name of an authority, in lower case; null when it is malformed. */
export function hostNameOf(authority: string | undefined): string | null {
  const parts = authorityForm.exec((authority ?? '').toLowerCase());
  return parts ? (parts[1] ?? parts[2] ?? null) : null;
}

/**
 * The left-most label decides: `api`, `<port>-<sandbox id>`, or `sandbox`, below which (and on localhost and addresses, which are nobody's names) the routing headers
 * are believed. On a name of our own they are not: who may reach that name would otherwise reach every room.
 */
export function destinationOf(authority: string | undefined, routing: { id: string | undefined; port: string | undefined }, domain: string): Destination {
  const name = hostNameOf(authority);
  if (name === null) return { kind: 'bad' };
  if (name === 'localhost' || isIP(name) !== 0 || name === `sandbox.${domain}`) return byHeaders(routing);
  if (!name.endsWith(`.${domain}`)) return { kind: name === domain ? 'nothing' : 'foreign' };
  const label = name.slice(0, -domain.length - 1);
  if (label === 'api') return { kind: 'api' };
  const [, port, id] = /^(\d{1,5})-([a-z0-9]{1,57})$/.exec(label) ?? [];
  return roomAddress(id, port) ?? { kind: 'nothing' };
}

function byHeaders({ id, port }: { id: string | undefined; port: string | undefined }): Destination {
  if (id === undefined) return { kind: 'nothing' };
  return roomAddress(id.toLowerCase(), port ?? String(surfacePort)) ?? { kind: 'bad' };
}

function roomAddress(id: string | undefined, port: string | undefined): RoomAddress | null {
  if (id === undefined || port === undefined || !/^[a-z0-9]{1,64}$/.test(id) || !/^[1-9]\d{0,4}$/.test(port) || Number(port) > 65_535) return null;
  return { kind: 'room', sandboxId: id, roomId: roomIdOf(id), port: Number(port) };
}
