import { limits } from '@alcove/base';
import type { Reconciler } from '@alcove/jobs';
import type { Rotations } from './rotations';
import type { TenantKeys } from './tenant-keys';

/** Asks tenants' providers often enough that a revocation is known within the time of the cache, and brings rotations to their end. */
export function tenantKeyReconcilers(keys: Pick<TenantKeys, 'watch'>, rotations: Pick<Rotations, 'advance'>, cacheMs: number): Reconciler[] {
  return [
    { name: 'keys.providers', everyMs: Math.max(1_000, Math.min(15_000, cacheMs / 4)), run: () => keys.watch(limits.reconciler.batch) },
    { name: 'keys.rotations', everyMs: limits.reconciler.everyMs, run: () => rotations.advance(limits.reconciler.batch) },
  ];
}
