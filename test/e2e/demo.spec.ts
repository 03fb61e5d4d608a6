/** What a stranger types first, with real rooms: the three curl lines of `./alcove up`, `./alcove demo` and `./alcove doctor`. */
import { run, startPlatform, type Platform } from './platform';

jest.setTimeout(600_000);
const claims = 19;
let platform: Platform;
beforeAll(async () => {
  platform = await startPlatform();
});
afterAll(() => platform?.destroy());

it('prints three curl lines that work on a real room when pasted', async () => {
  const up = await platform.alcove('up', '--yes', '--json');
  const { curl } = JSON.parse(up.stdout) as { curl: string[] };
  expect(curl).toHaveLength(3);
  const answers: string[] = [];
  for (const line of curl) {
    const pasted = await run('bash', ['-c', line], {});
    expect(pasted).toMatchObject({ code: 0, stderr: '' });
    answers.push(pasted.stdout);
  }
  expect(JSON.parse(answers[0] ?? '')).toMatchObject({ rooms: [{ userId: 'you' }] });
  expect(JSON.parse(answers[1] ?? '')).toMatchObject({ turn: 1, reply: expect.stringContaining('Good morning!') });
  const said = [...(answers[2] ?? '').matchAll(/^data: (.*)$/gm)].map(([, data]) => JSON.parse(data ?? '') as { event: string; data?: string; exitCode?: number });
  expect(Buffer.from(said.find(({ event }) => event === 'stdout')?.data ?? '', 'base64').toString()).toMatch(/^Linux .*x86_64/);
  expect(said.at(-1)).toMatchObject({ event: 'exit', exitCode: 0 });
});

it('plays the demo to its end, and stops what it started', async () => {
  expect((await platform.alcove('down')).code).toBe(0);
  const demo = await platform.alcove('demo', '--yes');
  expect(demo).toMatchObject({ code: 0, stdout: expect.stringContaining(`${claims} claims checked, all of them so.`) });
  expect(demo.stdout.match(/✓/g)).toHaveLength(claims);
  expect(demo.stdout).not.toContain('✗');
  expect(demo.stdout).toContain('resumedFrom "disk"');
  expect(await platform.status()).toMatchObject({ up: false, virtualMachines: [] });
  const start = /start the platform.*/.exec(demo.stderr)?.[0];
  expect(start).toBeDefined();
  process.stdout.write(`a second run of the demo: ${start?.replace(/\s+/g, ' ')}\n`);
});

it('says as JSON what this machine can do', async () => {
  const doctor = await platform.alcove('doctor', '--json');
  const { ok, findings } = JSON.parse(doctor.stdout) as { ok: boolean; findings: { name: string; level: string; detail: string; mend?: string }[] };
  expect({ ok, code: doctor.code }).toEqual({ ok: true, code: 0 });
  const of = (name: string) => findings.find((finding) => finding.name === name);
  expect(of('qemu')?.detail).toMatch(/^\d+\.\d+\.\d+$/);
  expect(of('kvm')?.detail).toMatch(/\/dev\/kvm|a tiny guest ran under KVM/);
  expect(of('rooms')?.detail).toMatch(/^(emulated|hardware) isolation \((tcg|kvm)\)/);
  expect(of('memory')?.detail).toMatch(/GiB.* available$/);
  expect(of('disk for data')?.detail).toContain('GiB free for ');
  expect(of('ptrace')?.detail).toMatch(/memory|ptrace_scope/);
  expect(of('user limits')?.detail).toMatch(/^open files .*, processes /);
  for (const { level, mend } of findings) expect(level === 'ok' || mend !== undefined).toBe(true);
});
