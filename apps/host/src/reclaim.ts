import { unreachable } from '@alcove/base';
import type { FoundVm, RoomKey } from '@alcove/runtime';
import { livePhases, type RoomRecord } from './journal';

/** What a comparison of journal and processes decides. Every found VM is in exactly one of adopt, end and watch, or its room's runner has it. */
export interface ReclaimPlan {
  /** A VM of the journalled incarnation, whole: take it over. */
  adopt: { vm: FoundVm; record: RoomRecord }[];
  /** A VM that may not run: half-started, half-ended, or of an incarnation that the journal knows to be over. */
  end: { vm: FoundVm; reason: string }[];
  /** Journalled as living, but there is no such VM: its end is written down and reported. */
  forget: { record: RoomRecord; reason: string }[];
  /** VMs that the journal does not account for, and unfinished seals, with the monotonic time at which they were first seen. Over when seen again after their grace. */
  watch: Map<string, number>;
}

export interface ReclaimInput {
  records: ReadonlyMap<string, RoomRecord>;
  found: readonly FoundVm[];
  /** The `watch` of the comparison before. */
  seen: ReadonlyMap<string, number>;
  /** Monotonic milliseconds. */
  now: number;
  orphanGraceMs: number;
  /** A seal that an earlier agent left unfinished and nobody retries is given up after this. */
  sealGraceMs: number;
  /** Rooms whose runner is in the middle of something: left alone. */
  busy: ReadonlySet<string>;
  /** Rooms whose runner holds the VM of the journalled incarnation. */
  held: ReadonlySet<string>;
}

/** Why a VM was ended whose start an agent before this one had not finished. */
export const halfStarted = 'half_started';

export function vmName(room: RoomKey): string {
  return `${room.roomId}/${room.incarnation}`;
}

/** Compares the journal with the VMs that were found, at start (`busy` and `held` are empty then) and every now and then. Pure. */
export function decideReclaim(input: ReclaimInput): ReclaimPlan {
  const plan: ReclaimPlan = { adopt: [], end: [], forget: [], watch: new Map() };
  const kept = new Set<string>();
  for (const vm of input.found) {
    if (input.busy.has(vm.roomId)) continue;
    const record = input.records.get(vm.roomId);
    const verdict = judge(vm, record);
    if (verdict === 'orphan') {
      if (outlived(`vm ${vmName(vm)}`, input.orphanGraceMs, input, plan)) plan.end.push({ vm, reason: 'orphan' });
    } else if (verdict !== 'adopt') {
      plan.end.push({ vm, reason: verdict });
    } else {
      if (record && !input.held.has(vm.roomId)) plan.adopt.push({ vm, record });
      kept.add(vmName(vm));
    }
  }
  for (const record of input.records.values()) {
    if (input.busy.has(record.roomId) || input.held.has(record.roomId) || kept.has(vmName(record))) continue;
    const reason = forgetReason(record, input, plan);
    if (reason !== null) plan.forget.push({ record, reason });
  }
  return plan;
}

function judge(vm: FoundVm, record: RoomRecord | undefined): 'adopt' | 'orphan' | 'superseded' | 'ended_before' | typeof halfStarted {
  if (!record || vm.incarnation > record.incarnation) return 'orphan';
  if (vm.incarnation < record.incarnation) return 'superseded';
  if (!livePhases.has(record.phase) || record.phase === 'ending') return 'ended_before';
  return vm.whole ? 'adopt' : halfStarted;
}

/** Seen before, and that long ago; otherwise it is watched. */
function outlived(name: string, graceMs: number, input: ReclaimInput, plan: ReclaimPlan): boolean {
  const firstSeen = input.seen.get(name);
  if (firstSeen !== undefined && input.now - firstSeen >= graceMs) return true;
  plan.watch.set(name, firstSeen ?? input.now);
  return false;
}

function forgetReason(record: RoomRecord, input: ReclaimInput, plan: ReclaimPlan): string | null {
  switch (record.phase) {
    case 'starting':
      return 'start_interrupted';
    case 'copying':
      return 'copy_interrupted';
    case 'running':
      return 'vmm_exited';
    case 'ending':
      return record.reason;
    case 'sealing':
      // Its image may be durable: the control plane's retry, which brings the keys, will find it.
      return outlived(`seal ${vmName(record)}`, input.sealGraceMs, input, plan) ? 'vmm_exited' : null;
    case 'sealed':
    case 'gone':
      return null;
    default:
      return unreachable(record.phase);
  }
}
