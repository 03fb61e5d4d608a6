import type { Clock } from '@alcove/base';
import { Lease } from './lease';

function clockAt(ms: number): Clock & { at: number } {
  return { at: ms, now: () => 0, monotonic(): number { return this.at; }, sleep: async () => undefined };
}
const none = { record: null, machineBootId: 'boot-a' };

it('begins without a right to run anything', () => {
  expect(new Lease(clockAt(1000), 15_000, none).expired).toBe(true);
});

it('counts from the sending of the beat, and never beyond its ceiling', () => {
  const clock = clockAt(1000);
  const lease = new Lease(clock, 15_000, none);
  clock.at = 3000;
  lease.renew(1000, 10_000);
  expect(lease.expiresAt).toBe(11_000);
  lease.renew(2000, 60_000);
  expect(lease.expiresAt).toBe(17_000);
  lease.renew(1500, 10_000);
  expect(lease.expiresAt).toBe(17_000);
  clock.at = 17_000;
  expect(lease.expired).toBe(true);
});

it('goes on with the lease of the agent before, of the same boot of the machine only', () => {
  const record = { machineBootId: 'boot-a', expiresAt: 9000 };
  expect(new Lease(clockAt(5000), 15_000, { record, machineBootId: 'boot-a' }).expiresAt).toBe(9000);
  expect(new Lease(clockAt(5000), 15_000, { record, machineBootId: 'boot-b' }).expired).toBe(true);
  expect(new Lease(clockAt(5000), 15_000, { record: { ...record, expiresAt: 90_000 }, machineBootId: 'boot-a' }).expired).toBe(true);
});
