import { type ImageRef, type IncarnationState, Problem } from '@alcove/contracts';
import { imageOf, type Journal, livePhases, type RoomRecord } from '../journal';

/** One room's page in the journal. Its runner is the only one that writes it. */
export class RoomPage {
  constructor(
    readonly roomId: string,
    private readonly world: { readonly journal: Journal; nextSequence(): number },
  ) {}

  get record(): RoomRecord | undefined {
    return this.world.journal.records().get(this.roomId);
  }
  /** A VM of this room runs or may run. */
  get live(): boolean {
    return this.record !== undefined && livePhases.has(this.record.phase);
  }
  need(): RoomRecord {
    const { record } = this;
    if (!record) throw new Problem('room.not_running');
    return record;
  }
  /** Throws `incarnation.stale` for one that is lower than the highest known here. */
  refuseStale(incarnation: number): void {
    const highest = this.record?.incarnation ?? 0;
    if (incarnation < highest) throw new Problem('incarnation.stale', { detail: `incarnation ${highest} is known here` });
  }
  blank(incarnation: number): RoomRecord {
    return {
      roomId: this.roomId, incarnation, phase: 'gone', sequence: 0, operationId: '', templateId: '', level: 'new', ran: false, generation: 0, reason: '', running: null, sealed: null, sealing: null, acknowledged: false,
    };
  }
  /** Writes an intent: it is on the disk before anything is done. */
  async intend(record: RoomRecord): Promise<void> {
    await this.world.journal.intend({ ...record, sequence: this.world.nextSequence(), acknowledged: false });
  }
  /** Writes what came of it. */
  async note(change: Partial<RoomRecord>, durable = false): Promise<void> {
    await this.world.journal.note({ ...this.need(), sequence: this.world.nextSequence(), acknowledged: false, ...change }, durable);
  }
  state(): IncarnationState | undefined {
    return this.record && stateOf(this.record);
  }
}

/** What the control plane is told of a record; nothing of a copy that is being made: there is no VM of it, and it is not over. */
export function stateOf(record: RoomRecord): IncarnationState | undefined {
  const { roomId, incarnation, phase, sequence, reason } = record;
  if (phase === 'copying') return undefined;
  const image: ImageRef | undefined = imageOf(record);
  return { roomId, incarnation, phase, sequence, ...(reason === '' ? {} : { reason }), ...(image === undefined ? {} : { image }) };
}
