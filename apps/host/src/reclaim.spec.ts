import type { FoundVm } from '@alcove/runtime';
import fc from 'fast-check';
import { livePhases, type RoomRecord } from './journal';
import { decideReclaim, type ReclaimInput, vmName } from './reclaim';

const roomIds = ['room_a', 'room_b', 'room_c'];
const seeded = { seed: 20_261_121, numRuns: 1000 };

function recordOf(change: Partial<RoomRecord> = {}): RoomRecord {
  return {
    roomId: 'room_a', incarnation: 2, phase: 'running', sequence: 1, operationId: '', templateId: '', level: 'new', ran: true, generation: 0, reason: '', running: null, sealed: null, sealing: null,
    acknowledged: false, ...change,
  };
}
function vmOf(change: Partial<FoundVm> = {}): FoundVm {
  return { roomId: 'room_a', incarnation: 2, pid: 1, templateId: '', whole: true, ...change };
}
function decide(records: RoomRecord[], found: FoundVm[], change: Partial<ReclaimInput> = {}) {
  const input: ReclaimInput = {
    records: new Map(records.map((record) => [record.roomId, record])), found, seen: new Map(), now: 1000, orphanGraceMs: 100, sealGraceMs: 500, busy: new Set(), held: new Set(), ...change,
  };
  return decideReclaim(input);
}

describe('a VM of the journalled incarnation', () => {
  it.each(['starting', 'running', 'sealing'] as const)('that is %s is adopted', (phase) => {
    expect(decide([recordOf({ phase })], [vmOf()])).toMatchObject({ adopt: [{ vm: vmOf() }], end: [], forget: [] });
  });
  it('that is only half there is ended', () => {
    expect(decide([recordOf({ phase: 'starting' })], [vmOf({ whole: false })]).end).toMatchObject([{ reason: 'half_started' }]);
  });
  it.each(['ending', 'sealed', 'gone'] as const)('that is %s is ended', (phase) => {
    expect(decide([recordOf({ phase })], [vmOf()]).end).toMatchObject([{ reason: 'ended_before' }]);
  });
});

describe('a VM that is not the journalled incarnation', () => {
  it('is ended when it is older', () => {
    expect(decide([recordOf()], [vmOf({ incarnation: 1 })]).end).toMatchObject([{ reason: 'superseded' }]);
  });
  it.each([[[]], [[recordOf({ incarnation: 1 })]]])('is watched first when the journal does not know it, and ended when it is seen again after the grace', (records) => {
    const first = decide(records, [vmOf()]);
    expect(first.end).toEqual([]);
    const early = decide(records, [vmOf()], { seen: first.watch, now: 1050 });
    expect(early.end).toEqual([]);
    const late = decide(records, [vmOf()], { seen: early.watch, now: 1100 });
    expect(late.end).toMatchObject([{ reason: 'orphan' }]);
    expect(late.watch.size).toBe(0);
  });
  it('is forgotten by the watch when it goes away in between', () => {
    const first = decide([], [vmOf()]);
    const without = decide([], [], { seen: first.watch, now: 1050 });
    expect(decide([], [vmOf()], { seen: without.watch, now: 1100 }).end).toEqual([]);
  });
});

describe('a record without its VM', () => {
  it.each([
    ['starting', 'start_interrupted'],
    ['running', 'vmm_exited'],
    ['ending', 'idle'],
  ] as const)('that is %s is over', (phase, reason) => {
    expect(decide([recordOf({ phase, reason: 'idle' })], []).forget).toMatchObject([{ reason }]);
  });
  it('that was sealing waits for the retry that brings the keys, for a while', () => {
    const first = decide([recordOf({ phase: 'sealing' })], []);
    expect(first.forget).toEqual([]);
    expect(decide([recordOf({ phase: 'sealing' })], [], { seen: first.watch, now: 1500 }).forget).toMatchObject([{ reason: 'vmm_exited' }]);
  });
  it.each(['sealed', 'gone'] as const)('that is %s stays', (phase) => {
    expect(decide([recordOf({ phase })], [])).toMatchObject({ adopt: [], end: [], forget: [] });
  });
});

it('leaves a busy room alone, and a held one but for VMs of other incarnations', () => {
  expect(decide([recordOf()], [vmOf(), vmOf({ incarnation: 1 })], { busy: new Set(['room_a']) })).toMatchObject({ adopt: [], end: [], forget: [] });
  expect(decide([recordOf()], [vmOf(), vmOf({ incarnation: 1 })], { held: new Set(['room_a']) })).toMatchObject({ adopt: [], end: [{ reason: 'superseded' }], forget: [] });
});

const phases = ['starting', 'running', 'sealing', 'copying', 'sealed', 'ending', 'gone'] as const;
const anyRecords = fc.uniqueArray(
  fc.record({ roomId: fc.constantFrom(...roomIds), incarnation: fc.integer({ min: 1, max: 3 }), phase: fc.constantFrom(...phases) }).map((some) => recordOf(some)),
  { selector: (record) => record.roomId },
);
const anyFound = fc.uniqueArray(
  fc.record({ roomId: fc.constantFrom(...roomIds), incarnation: fc.integer({ min: 1, max: 3 }), whole: fc.boolean() }).map((some) => vmOf(some)),
  { selector: vmName },
);

it('never leaves two VMs of a room that may both go on, and never ends what may live', () => {
  fc.assert(
    fc.property(anyRecords, anyFound, (records, found) => {
      const plan = decide(records, found);
      const adopted = plan.adopt.map(({ vm }) => vm);
      expect(new Set(adopted.map((vm) => vm.roomId)).size).toBe(adopted.length);
      for (const { vm, record } of plan.adopt) expect([vm.roomId, vm.incarnation, vm.whole, livePhases.has(record.phase)]).toEqual([record.roomId, record.incarnation, true, true]);
      const judged = [...adopted.map(vmName), ...plan.end.map(({ vm }) => vmName(vm)), ...[...plan.watch.keys()].filter((name) => name.startsWith('vm ')).map((name) => name.slice(3))];
      expect(judged.sort()).toEqual(found.map(vmName).sort());
      for (const { record } of plan.forget) expect(adopted.map(vmName)).not.toContain(vmName(record));
    }),
    seeded,
  );
});

it('comes to rest: what it decided leaves nothing to decide but the watched', () => {
  fc.assert(
    fc.property(anyRecords, anyFound, (records, found) => {
      const plan = decide(records, found);
      const ended = new Set(plan.end.map(({ vm }) => vmName(vm)));
      const forgotten = new Set(plan.forget.map(({ record }) => record.roomId));
      const after = records.map((record) => (forgotten.has(record.roomId) || (ended.has(vmName(record)) && livePhases.has(record.phase)) ? { ...record, phase: 'gone' as const } : record));
      const left = found.filter((vm) => !ended.has(vmName(vm)));
      const again = decide(after, left, { seen: plan.watch, held: new Set(plan.adopt.map(({ vm }) => vm.roomId)) });
      expect(again).toMatchObject({ adopt: [], end: [], forget: [] });
    }),
    seeded,
  );
});
