/** Pause and connect on real rooms: nothing of memory or files is lost, however often and however fast. */
import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { Sandbox } from 'e2b';
import { virtualMachines } from '../../../apps/cli/src/platform/virtual-machines';
import { until } from '../../e2e/platform';
import { testConfig } from '../../e2e/e2e.config';
import { failureOf, roomIdOf, Tenancy } from './sdk';

jest.setTimeout(900_000);
const { all } = testConfig();
const cycles = all ? 50 : 5;
/** A boot under emulation takes ten seconds and more: one of them is enough for every day. */
const atLength = all ? it : it.skip;
let mine: Tenancy;
beforeAll(async () => {
  mine = await Tenancy.open('qemu');
});
afterAll(() => mine?.close());

const sh = async (sandbox: Sandbox, command: string): Promise<string> => (await sandbox.commands.run(command)).stdout.trim();
const bootId = (sandbox: Sandbox): Promise<string> => sh(sandbox, 'cat /proc/sys/kernel/random/boot_id');

/** A process that holds random bytes in its memory only, and says their checksum and how often it was asked. */
const keeper = `
import hashlib, os, sys
held = os.urandom(int(sys.argv[1]) << 20)
asked = 0
print("holds " + hashlib.sha256(held).hexdigest(), flush=True)
for line in sys.stdin:
    asked += 1
    print(f"{asked} {hashlib.sha256(held).hexdigest()}", flush=True)
`;

async function holding(sandbox: Sandbox, mebibytes: number): Promise<{ sha: string; pid: number; ask: () => Promise<string> }> {
  await sandbox.files.write('keeper.py', keeper);
  let heard = '';
  const { pid } = await sandbox.commands.run(`python3 keeper.py ${mebibytes}`, { background: true, stdin: true, timeoutMs: 0, onStdout: (data: string) => void (heard += data) });
  const sha = (await until('it holds', () => Promise.resolve(/holds ([0-9a-f]{64})/.exec(heard))))[1] ?? '';
  const ask = async (): Promise<string> => {
    let answer = '';
    const listener = await sandbox.commands.connect(pid, { timeoutMs: 0, onStdout: (data: string) => void (answer += data) });
    await sandbox.commands.sendStdin(pid, 'well?\n');
    await until('it answers', () => Promise.resolve(answer.endsWith('\n')));
    await listener.disconnect();
    return answer.trim();
  };
  return { sha, pid, ask };
}

it(`${cycles} pauses and resumes without a wait between: memory and files whole, the boot the same, the id the same`, async () => {
  const sandbox = await mine.create();
  const { sha, ask } = await holding(sandbox, 4);
  const boot = await bootId(sandbox);
  const written = new Map<string, string>();
  for (let cycle = 1; cycle <= cycles; cycle++) {
    const bytes = randomBytes(3000 + cycle);
    const path = `kept/${cycle % 7}.bin`;
    await sandbox.files.write(path, new Blob([bytes]));
    written.set(path, createHash('sha256').update(bytes).digest('hex'));
    expect({ cycle, paused: await sandbox.pause() }).toEqual({ cycle, paused: true });
    expect((await sandbox.connect()).sandboxId).toBe(sandbox.sandboxId);
    expect({ cycle, answer: await ask() }).toEqual({ cycle, answer: `${cycle} ${sha}` });
  }
  expect(await bootId(sandbox)).toBe(boot);
  const sums = await sh(sandbox, 'cd kept && sha256sum *');
  expect(sums.split('\n').map((line) => line.split(/\s+/)).map(([sum, name]) => [`kept/${name}`, sum])).toEqual([...written].sort(([a], [b]) => a.localeCompare(b)));
});

it('what was written a moment before a pause is there after the tenth resume, through files and commands, by hand and by time', async () => {
  const sandbox = await mine.create({ lifecycle: { onTimeout: 'pause' } });
  for (let round = 1; round <= 10; round++) {
    await sandbox.files.write(`moment/file-${round}`, `file ${round}`);
    await sandbox.commands.run(`echo command ${round} > moment/command-${round}`);
    if (round % 2 === 0) await sandbox.pause();
    else {
      await sandbox.setTimeout(0);
      await until('time is up', async () => (await sandbox.getInfo()).state === 'paused');
    }
    await sandbox.connect({ timeoutMs: 600_000 });
    const expected = Array.from({ length: round }, (_, i) => `command ${i + 1}\nfile ${i + 1}`);
    const found = await sh(sandbox, `for i in $(seq 1 ${round}); do cat moment/command-$i moment/file-$i; echo; done`);
    expect({ round, found: found.split('\n').filter((line) => line !== '').join('\n') }).toEqual({ round, found: expected.join('\n') });
  }
});

it('a process, its open file and its listening port go on where they were', async () => {
  const sandbox = await mine.create();
  let heard = '';
  await sandbox.commands.run('exec 7> open.txt; echo before >&7; rm open.txt; python3 -m http.server 8000 --bind 127.0.0.1 2>/dev/null & sleep 0.1; read x; echo after >&7; cat /proc/$$/fd/7; kill %1', { background: true, stdin: true, timeoutMs: 0, onStdout: (data: string) => void (heard += data) });
  await until('it listens', async () => (await fetch(`https://${sandbox.getHost(8000)}/`)).status === 200);
  await sandbox.pause();
  await sandbox.connect();
  expect((await fetch(`https://${sandbox.getHost(8000)}/`)).status).toBe(200);
  expect(heard).toBe('');
  const shell = (await sandbox.commands.list()).find(({ args }) => args.some((arg) => arg.includes('open.txt')));
  const again = await sandbox.commands.connect(shell?.pid ?? 0, { timeoutMs: 0 });
  await sandbox.commands.sendStdin(shell?.pid ?? 0, '\n');
  expect((await again.wait()).stdout).toBe('before\nafter\n');
});

describe('without memory', () => {
  it('a pause that keeps files only is a boot at the resume: a new boot id, no processes, the files', async () => {
    const sandbox = await mine.create();
    const boot = await bootId(sandbox);
    await sandbox.files.write('kept.txt', 'kept');
    await sandbox.commands.run('sleep 10000', { background: true, timeoutMs: 0 });
    expect(await sandbox.pause({ keepMemory: false })).toBe(true);
    await sandbox.connect();
    expect(await bootId(sandbox)).not.toBe(boot);
    expect(await sandbox.commands.list()).toEqual([]);
    expect(await sandbox.files.read('kept.txt')).toBe('kept');
    const second = await bootId(sandbox);
    await sandbox.pause();
    await sandbox.connect();
    expect(await bootId(sandbox)).toBe(second);
  });

  atLength('nor does one that time brought, where that was asked at the create; the token stays good', async () => {
    const sandbox = await mine.create({ lifecycle: { onTimeout: { action: 'pause', keepMemory: false } } });
    const boot = await bootId(sandbox);
    await sandbox.files.write('kept.txt', 'kept');
    await sandbox.setTimeout(0);
    await until('time is up', async () => (await sandbox.getInfo()).state === 'paused');
    expect(await sandbox.isRunning()).toBe(false);
    await sandbox.connect();
    expect(await sandbox.files.read('kept.txt')).toBe('kept');
    expect(await bootId(sandbox)).not.toBe(boot);
  });

  atLength('a resume that asks for a reboot is one, also of a pause that kept memory', async () => {
    const sandbox = await mine.create();
    const boot = await bootId(sandbox);
    await sandbox.files.write('kept.txt', 'kept');
    await sandbox.pause();
    await sandbox.connect({ onResume: 'reboot' });
    expect(await bootId(sandbox)).not.toBe(boot);
    expect(await sandbox.files.read('kept.txt')).toBe('kept');
  });
});

it('two clients that connect to one paused sandbox at once make one resume, and both can use it', async () => {
  const sandbox = await mine.create();
  const { sha, ask } = await holding(sandbox, 1);
  await sandbox.pause();
  const before = (await mine.v1.room(roomIdOf(sandbox.sandboxId))).incarnation ?? 0;
  const clients = await Promise.all([Sandbox.connect(sandbox.sandboxId, mine.at), Sandbox.connect(sandbox.sandboxId, mine.at)]);
  expect(await Promise.all(clients.map((client, i) => client.commands.run(`echo ${i}`).then(({ stdout }) => stdout)))).toEqual(['0\n', '1\n']);
  expect((await mine.v1.room(roomIdOf(sandbox.sandboxId))).incarnation).toBe(before + 1);
  expect(await ask()).toBe(`1 ${sha}`);
});

it('figures of a running sandbox: of now, of a range, none of the future', async () => {
  const sandbox = await mine.create();
  const figures = await until('there are figures', async () => {
    const found = await sandbox.getMetrics();
    return found.length >= 2 && found;
  });
  const [one] = figures;
  expect(one).toMatchObject({ timestamp: expect.any(Date) as Date, cpuCount: expect.any(Number) as number });
  expect(one?.memTotal).toBeGreaterThan(100 << 20);
  expect(one?.memUsed).toBeGreaterThan(0);
  expect(one?.diskTotal).toBeGreaterThan(one?.diskUsed ?? 0);
  expect(figures.map(({ timestamp }) => timestamp.getTime())).toEqual(figures.map(({ timestamp }) => timestamp.getTime()).sort((a, b) => a - b));
  const last = figures.at(-1)?.timestamp ?? new Date(0);
  expect((await sandbox.getMetrics({ end: new Date(last.getTime() - 2000) })).length).toBeLessThan((await sandbox.getMetrics()).length);
  expect(await sandbox.getMetrics({ start: new Date(Date.now() + 3_600_000) })).toEqual([]);
});

it('ServiceBusyError or an end, never a lie, when the VM dies in a pause; the files are there afterwards', async () => {
  const sandbox = await mine.create();
  await sandbox.files.write('kept.txt', 'kept');
  await sandbox.commands.run('sync');
  const vm = (await virtualMachines(join(mine.world.home, 'host'))).find(({ roomId }) => roomId === roomIdOf(sandbox.sandboxId));
  process.kill(vm?.pid ?? Number.NaN, 'SIGKILL');
  await sandbox.pause().catch(async (error: unknown) => expect((await failureOf(Promise.reject(error))).name).toMatch(/^(ServiceBusyError|SandboxError|SandboxNotFoundError)$/));
  await until('it can be used again', async () => sandbox.connect().then(() => true, () => false));
  expect(await sandbox.files.read('kept.txt')).toBe('kept');
});
