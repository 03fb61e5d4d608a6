import { type MemorySource, type TrustLabel, trustLabels } from '@alcove/contracts';

/** The most that anything may be called that comes out of a room: the agent's own conclusion. */
export const roomTrust: TrustLabel = 'agent';

/** The less trusted of the two. */
export function lowerTrust(one: TrustLabel, other: TrustLabel): TrustLabel {
  return trustLabels.indexOf(one) < trustLabels.indexOf(other) ? one : other;
}

/** What a program in a room says of where something is from, with the trust that it may have at most. Saying less than nothing is its right; saying more is not. */
export function sourceOf(said: Partial<MemorySource> | undefined): MemorySource {
  return { kind: said?.kind ?? 'agent', ref: said?.ref ?? null, trust: lowerTrust(said?.trust ?? roomTrust, roomTrust) };
}
