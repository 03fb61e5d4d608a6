import type { ErasedObject, NotCovered } from '@alcove/contracts';
import type { KeyOwner } from './derivation';

/** What one look at what a lib keeps of a user has found. */
export interface PurgeReport {
  /** True when nothing is left. */
  readonly over: boolean;
  /** What was found. What was told before may be told again. */
  readonly objects: readonly ErasedObject[];
  /** What is left out, in words for the receipt. */
  readonly notCovered?: readonly NotCovered[];
}

/** What a lib does when a user is erased. Registered with Erasures in every process that runs sagas. */
export interface ErasePurge {
  readonly name: string;
  /** What there is, without changing it: called once the user's keys are destroyed, before anything is removed. */
  inventory(owner: KeyOwner): Promise<readonly ErasedObject[]>;
  /** Removes what can be removed now. Safe to do twice, at once, and after it was over. Not over: called again later. */
  purge(owner: KeyOwner): Promise<PurgeReport>;
}

/** What a lib does after a user's key was compromised: seals everything of the user again under the version that is current now, in parts. */
export interface Reseal {
  readonly name: string;
  /** One part. How much was sealed again, and whether anything is left under another version. Safe to do twice and at once. */
  reseal(owner: KeyOwner): Promise<{ resealed: number; over: boolean; notDone?: readonly string[] }>;
}
