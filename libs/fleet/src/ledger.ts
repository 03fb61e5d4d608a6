import type { IncarnationState } from '@alcove/contracts';
import type { HostRecord } from './host';

/** An incarnation that the rows say may live on a host. */
export interface OpenIncarnation {
  readonly roomId: string;
  readonly incarnation: number;
  /** It is its room's newest and the room counts on it; otherwise the host shall end it. */
  readonly live: boolean;
  /** It was reported up, so that its absence from the host's set is news. */
  readonly expected: boolean;
  /** The row gave it up, so that to hear that it runs is news. */
  readonly givenUp: boolean;
}

/** The rows of incarnations, as far as heartbeats are about them. Implemented by `rooms`, which this lib does not know. */
export interface IncarnationLedger {
  openOn(hostId: string): Promise<OpenIncarnation[]>;
  /** Takes the host's word on these. One that cannot be taken must not keep the others from being taken. */
  report(host: HostRecord, states: readonly IncarnationState[]): Promise<void>;
  /** The host lost its lease and so has ended everything: closes all its incarnations. Resolves with their number. */
  hostLost(hostId: string): Promise<number>;
}

/** One more than the sequence of any report: for what the host did not say itself. */
export function absentState(roomId: string, incarnation: number): IncarnationState {
  return { roomId, incarnation, phase: 'gone', sequence: Number.MAX_SAFE_INTEGER, reason: 'absent' };
}

/** What a beat means: which incarnations the host shall end, and which of its rows are missing from its set. Pure. */
export function compareSets(rows: readonly OpenIncarnation[], told: readonly IncarnationState[]): { end: { roomId: string; incarnation: number; reason: string }[]; missing: OpenIncarnation[] } {
  const byKey = new Map(rows.map((row) => [keyOf(row), row]));
  const toldKeys = new Set(told.map(keyOf));
  const end = told.flatMap(({ roomId, incarnation }) => {
    const row = byKey.get(keyOf({ roomId, incarnation }));
    return row?.live ? [] : [{ roomId, incarnation, reason: row ? 'stale' : 'unknown' }];
  });
  return { end, missing: rows.filter((row) => row.expected && !toldKeys.has(keyOf(row))) };
}

export function keyOf({ roomId, incarnation }: { roomId: string; incarnation: number }): string {
  return `${roomId}/${incarnation}`;
}
