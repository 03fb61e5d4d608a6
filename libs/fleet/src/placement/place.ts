import type { ProblemCode } from '@alcove/contracts';

/** A host as the scheduler sees it: a snapshot, made by the caller. */
export interface Candidate {
  readonly id: string;
  readonly storeGroup: string;
  readonly engine: string;
  readonly templateIds: readonly string[];
  readonly roomsMax: number;
  readonly roomsUsed: number;
  readonly memoryMiBTotal: number;
  readonly memoryMiBFree: number;
  readonly diskMiBFree: number;
  /** Rooms that were sent there since it last told its capacity. */
  readonly roomsOnTheWay: number;
}

export interface Need {
  readonly templateId: string;
  readonly memoryMiB: number;
  /** The room's disk and images are there; null: anywhere. */
  readonly storeGroup: string | null;
  /** The engine that made the room's image: another one means a boot from the disk. Null: any. */
  readonly engine: string | null;
}

export type Placement = { readonly kind: 'host'; readonly hostId: string } | { readonly kind: 'problem'; readonly code: ProblemCode; readonly why: string };

/** The least disk that a host must have to take a room: enough for one image and a new disk's first blocks. MiB. */
const diskMiBMin = 64;

/**
 * Chooses a host. Pure: a snapshot in, a plan out; the host itself checks again when the room comes. Only hosts that have the template and, for a room with a
 * disk, see its store. Among those that have room: first the engine that made the image, then the emptiest by share of rooms and memory, then by id, so that the
 * same snapshot always gives the same answer.
 */
export function place(hosts: readonly Candidate[], need: Need): Placement {
  const reachable = hosts.filter((host) => need.storeGroup === null || host.storeGroup === need.storeGroup);
  if (reachable.length === 0) return { kind: 'problem', code: 'host.unavailable', why: need.storeGroup === null ? 'no host is up' : "no host that sees this room's disk is up" };
  const able = reachable.filter((host) => host.templateIds.includes(need.templateId));
  if (able.length === 0) return { kind: 'problem', code: 'host.unavailable', why: 'no host that is up has this template' };
  const free = able.filter((host) => fits(host, need));
  const best = free.sort((a, b) => rank(a, need) - rank(b, need) || (a.id < b.id ? -1 : 1))[0];
  return best ? { kind: 'host', hostId: best.id } : { kind: 'problem', code: 'host.capacity', why: 'every host that could take this room is full' };
}

/** Memory is not counted per room: a running room owns only the pages it wrote, so a host says by `memoryMiBFree` how much it has left for all of them. */
function fits(host: Candidate, need: Need): boolean {
  return host.roomsUsed + host.roomsOnTheWay < host.roomsMax && host.memoryMiBFree >= need.memoryMiB && host.diskMiBFree >= diskMiBMin;
}

function rank(host: Candidate, need: Need): number {
  const otherEngine = need.engine !== null && host.engine !== need.engine ? 10 : 0;
  const rooms = (host.roomsUsed + host.roomsOnTheWay) / host.roomsMax;
  const memory = 1 - host.memoryMiBFree / Math.max(1, host.memoryMiBTotal);
  return otherEngine + Math.max(rooms, memory);
}
