import { type MemoryKind, Problem, type TrustLabel, trustLabels } from '@alcove/contracts';
import type { MemoryCaller } from '../caller';

const rank = (label: TrustLabel): number => trustLabels.indexOf(label);

/** The least trusted of these. */
export function lowest(labels: readonly [TrustLabel, ...TrustLabel[]]): TrustLabel {
  return labels.reduce((least, label) => (rank(label) < rank(least) ? label : least));
}

/** The most that a door may claim: from inside a room nothing is the user's own word, whatever is said there, because whoever talks to the agent also talks there. */
export function mostFrom(channel: MemoryCaller['channel']): TrustLabel {
  return channel === 'room' ? 'agent' : 'user';
}

/** Problem `memory.untrusted` when something would take the place of what is trusted more. */
export function requireTrustToReplace(label: TrustLabel, before: TrustLabel): void {
  if (rank(label) < rank(before)) throw new Problem('memory.untrusted', { detail: `What is trusted as ${label} takes the place of nothing that is trusted as ${before}.` });
}

/** What the agent acts on without being asked again. */
const acting: readonly MemoryKind[] = ['block', 'procedure'];
const actingNeeds: TrustLabel = 'agent';

/**
 * The label of something new: at most what its door may claim, and no more than any of its evidence. Problem `memory.untrusted` when that is too little for what it is to be: what anyone
 * could have written, or a tool brought, does not become a block or a procedure by itself.
 */
export function trustFor(kind: MemoryKind, claimed: TrustLabel, channel: MemoryCaller['channel'], evidence: readonly TrustLabel[]): TrustLabel {
  const label = lowest([claimed, mostFrom(channel), ...evidence]);
  if (acting.includes(kind) && rank(label) < rank(actingNeeds)) {
    throw new Problem('memory.untrusted', { detail: `A ${kind} needs at least the trust label ${actingNeeds}; this has ${label}, which is the lowest of its source and its evidence.` });
  }
  return label;
}

/**
 * The label after a change. A change may lower it; only the application may raise it, by saying that the user has said so. Problem `memory.untrusted`, as trustFor(), and when something else
 * would raise it.
 */
export function trustAfter(kind: MemoryKind, before: TrustLabel, claimed: TrustLabel | undefined, channel: MemoryCaller['channel']): TrustLabel {
  if (claimed === undefined) {
    // New content from a room in what the user once said is the agent's word.
    return trustFor(kind, lowest([before, mostFrom(channel)]), channel, []);
  }
  const label = trustFor(kind, claimed, channel, []);
  if (rank(label) > rank(before) && (channel !== 'api' || claimed !== 'user')) throw new Problem('memory.untrusted', { detail: `Only the user's own word makes of ${before} ${label}.` });
  return label;
}
