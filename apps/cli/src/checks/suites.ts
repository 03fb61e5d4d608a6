/** One part of `./alcove test`. */
export interface Suite {
  name: string;
  about: string;
  /** When it runs: always, not with --fast, only with --all, only with --kvm. */
  when: 'always' | 'slow' | 'all' | 'kvm';
  /** jest's project of that name (`--selectProjects`), or a program of the checkout. */
  run: { jest: string; pattern?: string } | { program: string[] };
  /** What it does less of without --all. */
  reduced?: string;
  /** Needs the set-up machine: guest artefacts and a template. */
  needsTemplate?: true;
  /** Needs Debian's Redis, which is started for it: TEST_REDIS_PORT says where. */
  needsRedis?: true;
  /** Needs a token of Debian's SoftHSM2, which is made for it: TEST_PKCS11 says where. */
  needsToken?: true;
}

export const suites: Suite[] = [
  { name: 'types', about: 'the type checker over everything', when: 'always', run: { program: ['node', 'node_modules/typescript/bin/tsc', '--noEmit', '-p', 'tsconfig.json'] } },
  { name: 'unit', about: 'pure code, house rules, simulator', when: 'always', run: { jest: 'unit' } },
  { name: 'guest agent', about: 'the Rust guest agent', when: 'slow', run: { program: ['bash', 'rootfs/guest-agent/test.sh'] } },
  { name: 'postgres', about: 'everything that talks to the database', when: 'slow', run: { jest: 'postgres' } },
  {
    name: 'conformance',
    about: 'drivers, guest channel, host agent and edge, with real VMs',
    when: 'slow',
    run: { jest: 'conformance', pattern: 'test/conformance/(?!driver-copies-qemu|guest-channel-kept|host-qemu-copied|keys-)[^/]+$' },
    needsTemplate: true,
  },
  {
    name: 'key providers',
    about: 'the file, PKCS#11 with SoftHSM2, AWS KMS and Vault (emulated, or real ones that the environment names)',
    when: 'slow',
    run: { jest: 'conformance', pattern: 'test/conformance/keys-' },
    needsToken: true,
  },
  {
    name: "E2B's SDK",
    about: 'the published SDK against two platforms, one with real VMs',
    when: 'slow',
    run: { jest: 'e2b' },
    reduced: '50 pauses and resumes without a wait in place of 5, every way to a reboot, a hundred calls of which one fails, the newest SDK and command line that the registry has',
    needsTemplate: true,
  },
  {
    name: 'rooms',
    about: 'the platform end to end, under attack, with processes killed in every move, with real VMs',
    when: 'slow',
    run: { jest: 'rooms', pattern: 'test/(e2e/(?!upgrade|agentcore)|security|chaos/killed)' },
    reduced: '100 sleeps of one room in place of 15, files of 1 GiB in place of 64 MiB, 7 kinds of garbage on the channel in place of 3',
    needsTemplate: true,
  },
  { name: 'rooms at length', about: 'a host cut off, a program upgraded, agents for AgentCore, with real VMs', when: 'all', run: { jest: 'rooms', pattern: 'test/(e2e/(upgrade|agentcore)|chaos/two-hosts)' }, needsTemplate: true },
  { name: 'guests at length', about: 'copies of rooms and kept processes down to the engine, with real VMs', when: 'all', run: { jest: 'conformance', pattern: 'test/conformance/(driver-copies-qemu|guest-channel-kept|host-qemu-copied)' }, needsTemplate: true },
  { name: 'queue on Redis', about: "the queue's suites on Debian's Redis", when: 'all', run: { jest: 'postgres', pattern: 'integration/jobs' }, needsRedis: true },
  { name: 'kvm', about: 'the KVM path inside an emulated host that has it', when: 'kvm', run: { jest: 'kvm' }, needsTemplate: true },
];

export interface TestFlags {
  fast: boolean;
  all: boolean;
  kvm: boolean;
}

/** Splits the suites into what runs and what is left out, each of the latter with the flag that would run it; `reduced` are those that run in a short form. */
export function choose(flags: TestFlags): { chosen: Suite[]; leftOut: { suite: Suite; flag: string }[]; reduced: { suite: Suite; full: string }[] } {
  const wanted = (suite: Suite): boolean => {
    if (suite.when === 'always') return true;
    if (suite.when === 'slow') return !flags.fast;
    return suite.when === 'kvm' ? flags.kvm : flags.all;
  };
  const flagOf = { always: '', slow: 'without --fast', all: 'with --all', kvm: 'with --kvm' };
  const chosen = suites.filter(wanted);
  return {
    chosen,
    leftOut: suites.filter((suite) => !wanted(suite)).map((suite) => ({ suite, flag: flagOf[suite.when] })),
    reduced: flags.all ? [] : chosen.flatMap((suite) => (suite.reduced === undefined ? [] : [{ suite, full: suite.reduced }])),
  };
}
