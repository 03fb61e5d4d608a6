import fc from 'fast-check';
import { firstMemory, judgeIdle, judgeLease, pauseMs, type WardenMemory, type WardenRules } from './decide';

const rules: WardenRules = { leaseMsMax: 15_000, graceMs: 3_750, idleMs: 60_000 };
const at = (expiresAt: number, change: Partial<WardenMemory> = {}): WardenMemory => ({ expiresAt, wasOver: false, idleSince: null, ...change });

describe('the lease', () => {
  it('is waited for, its grace included', () => {
    expect(judgeLease(at(0), 10_000, 9_999, rules).verdict).toBe('wait');
    expect(judgeLease(at(0), 10_000, 13_750, rules).verdict).toBe('wait');
  });

  it('is over when two looks in a row say so', () => {
    const first = judgeLease(at(10_000), 10_000, 13_751, rules);
    expect(first.verdict).toBe('confirm');
    expect(judgeLease(first.memory, 10_000, 13_771, rules).verdict).toBe('end');
  });

  it('is not ended by one look that read nonsense', () => {
    const torn = judgeLease(at(20_000), 1, 15_000, rules);
    expect(torn.verdict).toBe('confirm');
    const again = judgeLease(torn.memory, 22_000, 15_020, rules);
    expect(again.verdict).toBe('wait');
    expect(judgeLease(again.memory, 1, 15_520, rules).verdict).toBe('confirm');
  });

  it('is the one before when the record cannot be read, and without any is over since the beginning', () => {
    expect(judgeLease(at(10_000), null, 13_000, rules)).toEqual({ verdict: 'wait', memory: at(10_000) });
    expect(judgeLease(at(10_000, { wasOver: true }), null, 13_751, rules).verdict).toBe('end');
    const begun = firstMemory(100_000);
    expect(judgeLease(begun, null, 103_000, rules).verdict).toBe('wait');
    expect(judgeLease(begun, null, 103_751, rules).verdict).toBe('confirm');
  });

  it('never ends anything while the record that was read is valid, whatever came before', () => {
    const look = fc.tuple(fc.option(fc.integer({ min: 0, max: 60_000 }), { nil: null }), fc.integer({ min: 0, max: 60_000 }));
    fc.assert(
      fc.property(fc.array(look, { maxLength: 20 }), (looks) => {
        let memory = firstMemory(0);
        for (const [read, now] of looks) {
          const judged = judgeLease(memory, read, now, rules);
          if (read !== null && now <= read + rules.graceMs) expect(judged.verdict).toBe('wait');
          memory = judged.memory;
        }
      }),
      { seed: 20_261_120 },
    );
  });

  it('is looked at soon after its grace ends, and at least twice a second', () => {
    expect(pauseMs('wait', at(10_000), 5_000, rules)).toBe(500);
    expect(pauseMs('wait', at(10_000), 13_700, rules)).toBe(51);
    expect(pauseMs('confirm', at(10_000), 13_751, rules)).toBeLessThan(100);
    expect(pauseMs('end', at(10_000), 14_000, rules)).toBe(500);
  });
});

describe('leaving', () => {
  const alone = { vms: 0, agent: false };

  it('waits until there was neither agent nor VM for a while', () => {
    const first = judgeIdle(at(0), alone, 100_000, rules);
    expect(first).toEqual({ leave: false, memory: at(0, { idleSince: 100_000 }) });
    expect(judgeIdle(first.memory, alone, 159_999, rules).leave).toBe(false);
    expect(judgeIdle(first.memory, alone, 160_000, rules).leave).toBe(true);
  });

  it.each([{ vms: 1, agent: false }, { vms: 0, agent: true }])('begins anew with %j', (seen) => {
    expect(judgeIdle(at(0, { idleSince: 1 }), seen, 100_000, rules)).toEqual({ leave: false, memory: at(0) });
  });

  it('begins anew with a lease', () => {
    expect(judgeLease(at(0, { idleSince: 1 }), 100_000, 99_000, rules).memory.idleSince).toBeNull();
  });
});
