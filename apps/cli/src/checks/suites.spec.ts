import { choose, suites } from './suites';

const names = (flags: { fast?: boolean; all?: boolean; kvm?: boolean }): string[] => choose({ fast: false, all: false, kvm: false, ...flags }).chosen.map((suite) => suite.name);

it('runs little with --fast, the usual without, more with --all and --kvm', () => {
  expect(names({ fast: true })).toEqual(['types', 'unit']);
  expect(names({})).toContain('rooms');
  expect(names({})).not.toContain('kvm');
  expect(names({ all: true })).toContain('queue on Redis');
  expect(names({ kvm: true })).toContain('kvm');
});

it('names every suite that it leaves out', () => {
  const { chosen, leftOut } = choose({ fast: true, all: false, kvm: false });
  expect(chosen.length + leftOut.length).toBe(suites.length);
  for (const { flag } of leftOut) expect(flag).not.toBe('');
});

it('names every suite that runs in a short form, and none with --all or when it does not run at all', () => {
  const reduced = (flags: { fast?: boolean; all?: boolean }): string[] => choose({ fast: false, all: false, kvm: false, ...flags }).reduced.map(({ suite }) => suite.name);
  expect(reduced({})).toEqual(["E2B's SDK", 'rooms']);
  expect(reduced({ all: true })).toEqual([]);
  expect(reduced({ fast: true })).toEqual([]);
});
