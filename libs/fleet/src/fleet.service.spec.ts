import { silentLog } from '@alcove/base';
import type { Heartbeat, IncarnationState } from '@alcove/contracts';
import { contractHost, ManualClock } from '@alcove/testing';
import { FleetService } from './fleet.service';
import type { HostRecord } from './host';
import { MemoryHostsStore } from './hosts.store.memory';
import { compareSets, type IncarnationLedger, type OpenIncarnation } from './ledger';

const room = `room_${'1'.repeat(20)}`;

function state(roomId: string, incarnation: number, phase: IncarnationState['phase'] = 'running'): IncarnationState {
  return { roomId, incarnation, phase, sequence: 1 };
}

function row(incarnation: number, live = true, expected = live): OpenIncarnation {
  return { roomId: room, incarnation, live, expected, givenUp: false };
}

class Ledger implements IncarnationLedger {
  rows: OpenIncarnation[] = [];
  readonly reported: IncarnationState[] = [];
  readonly lost: string[] = [];
  async openOn(): Promise<OpenIncarnation[]> {
    return this.rows;
  }
  async report(_host: HostRecord, states: readonly IncarnationState[]): Promise<void> {
    this.reported.push(...states);
  }
  async hostLost(hostId: string): Promise<number> {
    this.lost.push(hostId);
    return 0;
  }
}

function setUp(): { fleet: FleetService; ledger: Ledger; clock: ManualClock; beat: (over?: Partial<Heartbeat>) => Promise<{ acknowledged: number; end: { reason: string }[] }> } {
  const clock = new ManualClock();
  const fleet = new FleetService(new MemoryHostsStore(), { clock, log: silentLog });
  const ledger = new Ledger();
  fleet.follow(ledger);
  let sequence = 0;
  const { description, capacity } = contractHost('a');
  const beat = (over: Partial<Heartbeat> = {}) => fleet.heartbeat('a', { bootId: 'b', sequence: ++sequence, description, capacity, incarnations: [], ended: [], ...over });
  return { fleet, ledger, clock, beat };
}

describe('a heartbeat', () => {
  it('is acknowledged with a lease, unless a later one overtook it', async () => {
    const { beat } = setUp();
    expect(await beat({ sequence: 5 })).toEqual({ leaseMs: 15_000, acknowledged: 5, end: [] });
    expect(await beat({ sequence: 4 })).toMatchObject({ acknowledged: -1 });
  });

  it('tells the host what to end: what the rows do not know or do not count on', async () => {
    const { beat, ledger } = setUp();
    ledger.rows = [row(3), { ...row(1, false), roomId: 'room_2' }];
    const { end } = await beat({ incarnations: [state(room, 3), state(room, 2), state('room_2', 1)] });
    expect(end).toEqual([
      { roomId: room, incarnation: 2, reason: 'unknown' },
      { roomId: 'room_2', incarnation: 1, reason: 'stale' },
    ]);
  });

  it('reports that something runs which was given up', async () => {
    const { beat, ledger } = setUp();
    ledger.rows = [{ ...row(3), givenUp: true }];
    await beat({ incarnations: [state(room, 3)] });
    expect(ledger.reported).toMatchObject([{ incarnation: 3, phase: 'running' }]);
  });

  it('reports what ended, what is news, and what is missing twice', async () => {
    const { beat, ledger } = setUp();
    ledger.rows = [row(3)];
    await beat({ incarnations: [state(room, 3)] });
    expect(ledger.reported).toEqual([]);
    await beat();
    expect(ledger.reported).toEqual([]);
    await beat();
    expect(ledger.reported).toMatchObject([{ roomId: room, incarnation: 3, phase: 'gone', reason: 'absent' }]);
    ledger.reported.length = 0;
    await beat({ ended: [state(room, 3, 'gone')] });
    expect(ledger.reported).toMatchObject([{ phase: 'gone' }]);
  });

  it('does not miss an incarnation that was there in between', async () => {
    const { beat, ledger } = setUp();
    ledger.rows = [row(3)];
    await beat();
    await beat({ incarnations: [state(room, 3)] });
    await beat();
    expect(ledger.reported).toEqual([]);
    expect(compareSets([row(4, true, false)], [])).toEqual({ end: [], missing: [] });
  });
});

describe('a lease', () => {
  it('is over when the beats stand still for lease and margin, whatever the wall clock says', async () => {
    const { fleet, clock, beat } = setUp();
    await beat();
    expect(await fleet.loseSilent()).toEqual([]);
    clock.advance(19_000);
    expect(await fleet.loseSilent()).toEqual([]);
    await beat();
    clock.advance(2_000);
    expect(await fleet.loseSilent()).toEqual([]);
    clock.advance(21_000);
    expect((await fleet.loseSilent()).map(({ id }) => id)).toEqual(['a']);
    expect(await fleet.isLost('a')).toBe(true);
  });

  it('is not judged by a process that has not looked on for that long', async () => {
    const { fleet, clock, beat } = setUp();
    await beat();
    clock.advance(60_000);
    expect(await fleet.loseSilent()).toEqual([]);
  });

  it('begins anew after the ledger is rid of what the lost host ran', async () => {
    const { fleet, clock, beat, ledger } = setUp();
    await beat();
    await fleet.loseSilent();
    clock.advance(21_000);
    await fleet.loseSilent();
    await beat();
    expect(ledger.lost).toEqual(['a']);
    expect(await fleet.isLost('a')).toBe(false);
  });
});

describe('placing', () => {
  const need = { templateId: 'tpl_a', memoryMiB: 10, storeGroup: null, engine: null };

  it('counts what it has sent until the host has told', async () => {
    const { fleet, beat } = setUp();
    const { capacity } = contractHost('a');
    await beat({ capacity: { ...capacity, diskMiBFree: 1000, memoryMiBFree: 1000, roomsMax: 2, roomsUsed: 0 } });
    expect((await fleet.place(need)).id).toBe('a');
    expect((await fleet.place(need)).id).toBe('a');
    await expect(fleet.place(need)).rejects.toMatchObject({ code: 'host.capacity' });
  });

  it('knows templates by name and hosts by id', async () => {
    const { fleet, beat } = setUp();
    await beat();
    expect((await fleet.template('name-a')).id).toBe('tpl_a');
    await expect(fleet.template('other')).rejects.toMatchObject({ code: 'template.not_found' });
    expect((await fleet.host('a')).id).toBe('a');
    await expect(fleet.host('b')).rejects.toMatchObject({ code: 'host.not_found' });
    expect((await fleet.anyOf('a')).id).toBe('a');
    await expect(fleet.anyOf('b')).rejects.toMatchObject({ code: 'host.unavailable' });
  });
});
