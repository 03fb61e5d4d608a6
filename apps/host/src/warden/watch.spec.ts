import type { WardenRules } from './decide';
import { watchOver, type WardenHands } from './watch';

const rules: WardenRules = { leaseMsMax: 15_000, graceMs: 3_750, idleMs: 60_000 };

/** A host in virtual time: `happens` is called before each look. */
function hostOf(happens: (host: ReturnType<typeof hostOf>) => void) {
  const host = {
    now: 0,
    expiry: 15_000 as number | null,
    vms: ['one', 'two'],
    agent: true,
    folder: true,
    refuses: 0,
    ended: [] as { vm: string; at: number }[],
    said: [] as string[],
    hands: {} as WardenHands<string>,
  };
  host.hands = {
    now: () => host.now,
    sleep: async (ms) => {
      host.now += ms;
      happens(host);
    },
    readExpiry: async () => host.expiry,
    findVms: async () => {
      if (host.refuses-- > 0) throw new Error('no');
      return host.vms;
    },
    end: async (vm) => {
      host.ended.push({ vm, at: host.now });
      host.vms = host.vms.filter((other) => other !== vm);
    },
    agentLives: async () => {
      if (!host.folder) throw new Error('no such folder');
      return host.agent;
    },
    folderExists: async () => host.folder,
    log: (_event, message) => void host.said.push(message),
  };
  return host;
}

it('leaves a host alone whose lease is renewed', async () => {
  const host = hostOf((h) => {
    h.expiry = h.now + 10_000;
    if (h.now > 300_000) h.hands.sleep = () => Promise.reject(new Error('seen enough'));
  });
  await expect(watchOver(host.hands, rules)).rejects.toThrow('seen enough');
  expect(host.ended).toEqual([]);
});

it('ends every VM once the lease and its grace are over, and leaves when the agent has gone as well', async () => {
  const host = hostOf((h) => {
    if (h.now > 100_000) h.agent = false;
  });
  await watchOver(host.hands, rules);
  expect(host.ended.map(({ vm }) => vm)).toEqual(['one', 'two']);
  for (const { at } of host.ended) {
    expect(at).toBeGreaterThan(18_750);
    expect(at).toBeLessThan(19_000);
  }
  expect(host.now).toBeGreaterThanOrEqual(160_000);
});

it('tries again when the VMs could not be looked for, and ends what appears later', async () => {
  const host = hostOf((h) => {
    if (h.now > 40_000 && h.ended.length === 2) h.vms = ['three'];
    h.agent = false;
  });
  host.refuses = 3;
  await watchOver(host.hands, rules);
  expect(host.ended.map(({ vm }) => vm)).toEqual(['one', 'two', 'three']);
  expect(host.said).toContain('the VMs of this host could not be looked for');
});

it('leaves at once when the folder is gone', async () => {
  const host = hostOf(() => undefined);
  Object.assign(host, { vms: [], folder: false, expiry: null });
  await watchOver(host.hands, rules);
  expect(host.now).toBeLessThan(5_000);
});
