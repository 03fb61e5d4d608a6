import type { Clock, Log } from '@alcove/base';
import { isProblem, type IncarnationState } from '@alcove/contracts';
import { engineOf, type HostRecord, type IncarnationLedger, type OpenIncarnation } from '@alcove/fleet';
import { mayLive, type LifecycleEvent } from './lifecycle/lifecycle';
import type { RoomRecord } from './room';
import type { RoomMover } from './room-mover';
import type { IncarnationRecord, RoomsStore, RoomWithIncarnations } from './rooms.store';

export interface LedgerParts<Scope> {
  readonly store: RoomsStore<Scope>;
  readonly mover: Pick<RoomMover<Scope>, 'apply'>;
  readonly clock: Clock;
  readonly log: Log;
}

/** Turns what hosts say in their beats into events of rooms. A host is believed about the incarnations that it was given, and about no other's. */
export class RoomsLedger<Scope> implements IncarnationLedger {
  constructor(private readonly parts: LedgerParts<Scope>) {}

  async openOn(hostId: string): Promise<OpenIncarnation[]> {
    return (await this.parts.store.openOn(hostId)).map(({ room, incarnation }) => ({
      roomId: room.id,
      incarnation: incarnation.incarnation,
      live: countsOn(room, incarnation),
      // One that was never reported up is not missed: its start may be on the way, and only an order to end it makes sure that it never comes.
      expected: countsOn(room, incarnation) && incarnation.phase === 'running' && room.state !== 'destroying',
      givenUp: room.state === 'failed',
    }));
  }

  async report(host: HostRecord, states: readonly IncarnationState[]): Promise<void> {
    for (const state of states) {
      if (state.phase !== 'gone' && state.phase !== 'sealed' && state.phase !== 'running') continue;
      try {
        await this.#take(host, state);
      } catch (error) {
        if (!isProblem(error)) throw error;
        this.parts.log.warn({ err: error, hostId: host.id, roomId: state.roomId }, "a host's word could not be taken");
      }
    }
  }

  async hostLost(hostId: string): Promise<number> {
    const open = await this.parts.store.openOn(hostId);
    for (const { room, incarnation } of open) await this.#close(room, incarnation.incarnation, 'host_lost', null);
    return open.length;
  }

  async #take(host: HostRecord, state: IncarnationState): Promise<void> {
    const found = await this.parts.store.locate(state.roomId);
    if (!found || found.room.incarnation < state.incarnation) return;
    const told = found.newest?.incarnation === state.incarnation ? found.newest : found.open.find(({ incarnation }) => incarnation === state.incarnation);
    // Closed long ago: no news.
    if (!told) return;
    if (told.hostId !== host.id) {
      this.parts.log.warn({ hostId: host.id, ownHostId: told.hostId, roomId: state.roomId, incarnation: state.incarnation, phase: state.phase }, "a host spoke of an incarnation that is another host's");
      return;
    }
    const sequence = state.reason === 'absent' ? null : state.sequence;
    const event = eventOf(host, found, state);
    if (event) {
      const { verdict } = await this.parts.mover.apply(keyOf(found.room), event, { actor: `host:${host.id}`, ...(sequence === null ? {} : { sequence }) });
      if (verdict.kind === 'move') return;
    }
    if (state.phase === 'gone' && isOpen(found, state.incarnation) && !isStarting(found, state.incarnation)) await this.#note(found.room, state.incarnation, state.reason ?? 'gone', sequence);
  }

  async #close(room: RoomRecord, incarnation: number, reason: string, sequence: number | null): Promise<void> {
    const { verdict } = await this.parts.mover.apply(keyOf(room), { kind: 'gone', incarnation, reason }, { actor: 'system' });
    if (verdict.kind !== 'move') await this.#note(room, incarnation, reason, sequence);
  }

  #note(room: RoomRecord, incarnation: number, reason: string, sequence: number | null): Promise<void> {
    return this.parts.store.report(keyOf(room), { incarnation, phase: 'gone', sequence, reason }, this.parts.clock.now());
  }
}

function keyOf(room: RoomRecord): { tenantId: string; roomId: string } {
  return { tenantId: room.tenantId, roomId: room.id };
}

/** The row counts on the newest incarnation while it may live; of a failed room it may turn out to live after all, of a doomed one the saga ends it. */
function countsOn(room: RoomRecord, incarnation: IncarnationRecord): boolean {
  return incarnation.incarnation === room.incarnation && (mayLive(room.state) || room.state === 'failed' || room.state === 'destroying');
}

function isOpen(found: RoomWithIncarnations, incarnation: number): boolean {
  return found.open.some((one) => one.incarnation === incarnation);
}

/** The saga that starts it hears of its end before anybody else, and may try again. */
function isStarting({ room }: RoomWithIncarnations, incarnation: number): boolean {
  return room.incarnation === incarnation && (room.state === 'provisioning' || room.state === 'resuming');
}

/** What a host's word on an incarnation means for its room; null when it means nothing new. */
function eventOf(host: HostRecord, found: RoomWithIncarnations, state: IncarnationState): LifecycleEvent | null {
  const { incarnation, image } = state;
  const { room } = found;
  if (incarnation !== room.incarnation || isStarting(found, incarnation)) return null;
  if (state.phase === 'sealed' && image) return { kind: 'sealed', incarnation, image, engine: engineOf(host), detail: {} };
  if (!isOpen(found, incarnation)) return null;
  if (state.phase === 'gone') return { kind: 'gone', incarnation, reason: state.reason ?? 'gone' };
  if (state.phase === 'running' && room.state === 'failed') return { kind: 'up', incarnation, reason: 'lives_after_all', start: null };
  return null;
}
