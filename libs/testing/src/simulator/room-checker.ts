import type { ImageRef } from '@alcove/contracts';
import { isMoving, reconcile, type IncarnationRecord, type RoomRecord } from '@alcove/rooms';

/** Everything that the checker looks at, at one moment. */
export interface PlatformSnapshot {
  readonly rooms: readonly { readonly room: RoomRecord; readonly incarnations: readonly IncarnationRecord[] }[];
  /** Every VM on every machine, half-started ones too. */
  readonly vms: readonly { readonly hostId: string; readonly roomId: string; readonly incarnation: number }[];
  /** True when a store group holds this image, whole, and the room's disk is in the state that it names. */
  holds(storeGroup: string, image: ImageRef): boolean;
  /** Rooms of which a store group still holds a disk or an image. */
  readonly stored: readonly { readonly storeGroup: string; readonly roomId: string }[];
}

/** What an agent answers: a secret that only its memory holds, and how often it was spoken to. */
export interface Word {
  readonly nonce: string;
  readonly turns: number;
}

/** The invariants of a room that must hold whatever goes wrong. Each check throws an Error that says what was broken. */
export class RoomChecker {
  readonly #newest = new Map<string, RoomRecord>();
  readonly #words = new Map<string, Word>();

  /** Called with every row that is saved. */
  saved(room: RoomRecord): void {
    const before = this.#newest.get(room.id);
    this.#newest.set(room.id, room);
    if (!before) return;
    if (room.generation !== before.generation + 1) throw new Error(`${room.id}: generation ${before.generation} → ${room.generation}`);
    if (room.incarnation < before.incarnation || room.incarnation > before.incarnation + 1) throw new Error(`${room.id}: incarnation ${before.incarnation} → ${room.incarnation}`);
    if (before.origin?.fresh && !room.hasDisk && (room.state === 'running' || room.state === 'resuming')) throw new Error(`${room.id}: a copy starts blank`);
    if (before.state === 'hibernated' && room.state !== 'hibernated' && before.holders.length > 0) throw new Error(`${room.id}: moved while it was copied`);
    if (room.kind === 'snapshot' && (room.state === 'running' || room.state === 'resuming')) throw new Error(`${room.id}: a snapshot woke`);
    if (before.state === 'destroyed') throw new Error(`${room.id}: changed after it was destroyed`);
    if (before.wanted === 'gone' && room.wanted !== 'gone') throw new Error(`${room.id}: shall go, and was kept`);
    if (room.state === 'hibernated' && before.state === 'hibernating' && room.image?.incarnation !== room.incarnation) throw new Error(`${room.id}: asleep with an image of another incarnation`);
    const keepsImage = before.image === null || room.state === 'destroyed' || [room.image?.id, room.previous?.id].includes(before.image.id);
    if (!keepsImage && room.resumedFrom !== 'checkpoint') throw new Error(`${room.id}: the row lost its newest image`);
  }

  /** What a room's agent said last: to be asked for before it is spoken to. */
  lastWord(roomId: string): Word | undefined {
    return this.#words.get(roomId);
  }

  /** An agent answered in a room, spoken to when `before` was its last word: a memory that went back in between must have been told. */
  said(room: RoomRecord, word: Word, before: Word | undefined): void {
    const newest = this.#words.get(room.id);
    if (newest?.nonce !== word.nonce || newest.turns < word.turns) this.#words.set(room.id, word);
    if (!before || before.nonce !== word.nonce || word.turns > before.turns || room.resumedFrom === 'checkpoint') return;
    throw new Error(`${room.id}: its memory went back from turn ${before.turns} to ${word.turns} and nobody said so`);
  }

  /** Holds at every moment. */
  always(snapshot: PlatformSnapshot): void {
    const live = new Map<string, string>();
    for (const vm of snapshot.vms) {
      const other = live.get(vm.roomId);
      if (other !== undefined) throw new Error(`${vm.roomId}: two VMs, ${other} and ${vm.hostId}/${vm.incarnation}`);
      live.set(vm.roomId, `${vm.hostId}/${vm.incarnation}`);
    }
    for (const { room } of snapshot.rooms) {
      if (room.state !== 'hibernated' || !room.image || room.imageSpent) continue;
      if (!snapshot.holds(room.storeGroup ?? '', room.image)) throw new Error(`${room.id}: asleep, but its image ${room.image.id} is lost or does not fit its disk`);
    }
  }

  /** Holds once everything works again and some time has passed. `now`: wall clock of the control plane. */
  finally(snapshot: PlatformSnapshot, now: number): void {
    for (const { room, incarnations } of snapshot.rooms) {
      const name = `${room.id} (${room.state}, wanted ${room.wanted})`;
      if (isMoving(room.state)) throw new Error(`${name}: not at rest`);
      if (reconcile(room, now, { hostLost: false })) throw new Error(`${name}: a wish is not honoured`);
      if (room.holders.length > 0) throw new Error(`${name}: held by ${room.holders}`);
      const open = incarnations.filter((one) => one.closedAt === null);
      const vms = snapshot.vms.filter((vm) => vm.roomId === room.id);
      const expected = room.state === 'running' ? [room.incarnation] : [];
      if (String(open.map((one) => one.incarnation)) !== String(expected)) throw new Error(`${name}: open incarnations ${open.map((one) => `${one.incarnation}:${one.phase}@${one.hostId}`)}`);
      if (String(vms.map((vm) => vm.incarnation)) !== String(expected)) throw new Error(`${name}: VMs ${vms.map((vm) => `${vm.hostId}/${vm.incarnation}`)}`);
      if (room.state === 'destroyed' && snapshot.stored.some((one) => one.roomId === room.id)) throw new Error(`${name}: its data is still stored`);
    }
    const known = new Set(snapshot.rooms.map(({ room }) => room.id));
    const stray = snapshot.vms.find((vm) => !known.has(vm.roomId));
    if (stray) throw new Error(`a VM of a room that nobody knows: ${stray.roomId}`);
  }
}
