/** Times in milliseconds. */
export interface WardenRules {
  /** Ceiling on what is granted, as the agent has it. */
  leaseMsMax: number;
  /** After the end of the lease the agent, if it lives, has this long to end its VMs itself. */
  graceMs: number;
  /** With no agent and no VM for this long the warden has nothing to do. */
  idleMs: number;
}

/** What the warden remembers from look to look. */
export interface WardenMemory {
  /** End of the lease as it was read last. A record that cannot be read is no longer lease, and no shorter one. */
  expiresAt: number;
  /** The look before found the lease over, too. */
  wasOver: boolean;
  /** Since when there is neither agent nor VM. */
  idleSince: number | null;
}

/** `wait`: the lease, or its grace, runs. `confirm`: it seems over; look once more at once. `end`: it is over, every VM of the folder ends. */
export type Verdict = 'wait' | 'confirm' | 'end';

/** Without any record the lease counts as over since the warden began. */
export function firstMemory(now: number): WardenMemory {
  return { expiresAt: now, wasOver: false, idleSince: null };
}

/**
 * Judges one reading of the lease record. Only two in a row that agree end anything: the record is written in place, and one that was read half-written must not cost a
 * room. Pure.
 */
export function judgeLease(memory: WardenMemory, read: number | null, now: number, rules: WardenRules): { verdict: Verdict; memory: WardenMemory } {
  const expiresAt = read ?? memory.expiresAt;
  const over = now > expiresAt + rules.graceMs;
  const verdict = !over ? 'wait' : memory.wasOver ? 'end' : 'confirm';
  return { verdict, memory: { expiresAt, wasOver: over, idleSince: over ? memory.idleSince : null } };
}

/** After VMs were looked for: whether the warden may leave. Only while no lease runs, so an agent that is being replaced never finds it gone. Pure. */
export function judgeIdle(memory: WardenMemory, seen: { vms: number; agent: boolean }, now: number, rules: WardenRules): { leave: boolean; memory: WardenMemory } {
  if (seen.vms > 0 || seen.agent) return { leave: false, memory: { ...memory, idleSince: null } };
  const idleSince = memory.idleSince ?? now;
  return { leave: now - idleSince >= rules.idleMs, memory: { ...memory, idleSince } };
}

/** How long until the next look: short before the end of the grace, and never so long that a machine that slept is noticed late. */
export function pauseMs(verdict: Verdict, memory: WardenMemory, now: number, rules: WardenRules): number {
  if (verdict === 'confirm') return confirmMs;
  const left = memory.expiresAt + rules.graceMs - now;
  // Nothing to end, and no agent that could start anything: looking through all processes of the machine can wait.
  if (verdict === 'end' && memory.idleSince !== null) return idleLookMs;
  return verdict === 'wait' ? Math.min(lookMs, Math.max(1, Math.ceil(left) + 1)) : lookMs;
}

const lookMs = 500;
const idleLookMs = 5_000;
const confirmMs = 20;
