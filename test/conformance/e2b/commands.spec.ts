/** Commands in a real room through the SDK. */
import { CommandExitError, type CommandHandle, type CommandResult, type Sandbox } from 'e2b';
import { until } from '../../e2e/platform';
import { failureOf, Tenancy } from './sdk';

jest.setTimeout(180_000);
let mine: Tenancy;
let sandbox: Sandbox;
beforeAll(async () => {
  mine = await Tenancy.open('qemu');
  sandbox = await mine.create({ envs: { FROM_SANDBOX: 'sandbox', BOTH: 'sandbox' } });
});
afterAll(() => mine?.close());

const run = (command: string, options: Parameters<Sandbox['commands']['run']>[1] = {}): Promise<CommandResult> => sandbox.commands.run(command, { ...options, background: false });
const start = (command: string, options: Parameters<Sandbox['commands']['run']>[1] = {}): Promise<CommandHandle> => sandbox.commands.run(command, { ...options, background: true });
const runs = async (pid: number): Promise<boolean> => (await sandbox.commands.list()).some((one) => one.pid === pid);
const alive = async (pid: number): Promise<boolean> => (await run(`kill -0 ${pid} 2>/dev/null && echo yes || echo no`, { user: 'root' })).stdout.trim() === 'yes';

describe('run', () => {
  it('gives output, errors and the exit code', async () => {
    expect(await run('echo out; echo err >&2')).toMatchObject({ exitCode: 0, stdout: 'out\n', stderr: 'err\n' });
  });

  it('throws CommandExitError with all of it for another code than 0', async () => {
    const { error } = await failureOf(run('echo out; echo err >&2; exit 7'));
    expect(error).toBeInstanceOf(CommandExitError);
    expect(error).toMatchObject({ exitCode: 7, stdout: 'out\n', stderr: 'err\n' });
  });

  it('tells of an end by a signal: -1, signal: killed', async () => {
    expect((await failureOf(run('kill -9 $$'))).error).toMatchObject({ exitCode: -1, error: 'signal: killed' });
  });

  it('runs a shell with everything that one knows', async () => {
    expect((await run('x=$(printf "%s" a b | wc -c); [[ $x == 2 ]] && echo "two: ${x}" | tr a-z A-Z')).stdout).toBe('TWO: 2\n');
  });

  it('calls back as output comes, and keeps it', async () => {
    const heard: string[] = [];
    const result = await run('for i in 1 2 3; do echo $i; done; echo err >&2', { onStdout: (data: string) => void heard.push(data), onStderr: (data: string) => void heard.push(data) });
    expect(heard.join('')).toContain('1\n2\n3\n');
    expect(heard.join('')).toContain('err\n');
    expect(result.stdout).toBe('1\n2\n3\n');
  });

  it('carries characters that are cut anywhere', async () => {
    const text = 'zażółć gęślą jaźń 🤦🏽‍♂️ 漢字 '.repeat(2000);
    await sandbox.files.write('/tmp/characters', text);
    expect((await run('cat /tmp/characters')).stdout).toBe(text);
  });

  it('carries 5 MB', async () => {
    const { stdout } = await run('head -c 5000000 /dev/zero | tr "\\0" x');
    expect(stdout).toHaveLength(5_000_000);
    expect(/^x+$/.test(stdout)).toBe(true);
  });

  it('runs a hundred at once', async () => {
    const ends = await Promise.all(Array.from({ length: 100 }, () => run('true')));
    expect(ends.map(({ exitCode }) => exitCode)).toEqual(Array.from({ length: 100 }, () => 0));
  });
});

describe('who and where', () => {
  it('the default user at home, and its variables', async () => {
    const { stdout } = await run('echo "$(whoami) $(id -u) $PWD $HOME $USER $LOGNAME $PATH"');
    expect(stdout).toMatch(/^user 1000 \/home\/user \/home\/user user user \/\S*\/bin\S*\n$/);
  });

  it('root when asked, at its home', async () => {
    expect((await run('whoami; pwd; echo $HOME', { user: 'root' })).stdout).toBe('root\n/root\n/root\n');
  });

  it('AuthenticationError for a user that is not there', async () => {
    expect(await failureOf(run('true', { user: 'nobody-here' }))).toMatchObject({ name: 'AuthenticationError', message: expect.stringContaining("invalid username: 'nobody-here'") as string });
  });

  it('the folder that was asked for, and InvalidArgumentError where there is none', async () => {
    expect((await run('pwd', { cwd: '/tmp' })).stdout).toBe('/tmp\n');
    expect(await failureOf(run('pwd', { cwd: '/no/such/folder' }))).toMatchObject({ name: 'InvalidArgumentError', message: expect.stringContaining('/no/such/folder') as string });
  });

  it("the sandbox's variables, and over them the call's", async () => {
    expect((await run('echo "$FROM_SANDBOX $BOTH $CALL"', { envs: { BOTH: 'call', CALL: 'only' } })).stdout).toBe('sandbox call only\n');
    expect((await run('echo "$BOTH"')).stdout).toBe('sandbox\n');
  });

  it('what E2B calls its base template to have', async () => {
    const programs = ['bash', 'sudo', 'python3', 'python', 'curl', 'git', 'tput', 'node'];
    const { stdout } = await run(`for p in ${programs.join(' ')}; do command -v $p >/dev/null && echo $p; done; true`);
    expect(stdout.trim().split('\n')).toEqual(programs);
    expect((await run('sudo -n whoami')).stdout).toBe('root\n');
  });
});

describe('in the background', () => {
  it('is listed with what it runs, until it ended', async () => {
    const handle = await start('sleep 100', { envs: { MARK: 'x' }, cwd: '/tmp' });
    const found = (await sandbox.commands.list()).find(({ pid }) => pid === handle.pid);
    expect(found).toMatchObject({ cmd: '/bin/bash', args: ['-l', '-c', 'sleep 100'], cwd: '/tmp', envs: { MARK: 'x' } });
    expect(await handle.kill()).toBe(true);
    await until('it is gone from the list', async () => !(await runs(handle.pid)));
  });

  it('wait gives the end, also twice', async () => {
    const handle = await start('echo done');
    expect(await handle.wait()).toMatchObject({ exitCode: 0, stdout: 'done\n' });
    expect(await handle.wait()).toMatchObject({ exitCode: 0 });
  });

  it('kill ends the whole of it; of what is not there it says false', async () => {
    const handle = await start('sleep 987 & sleep 987');
    expect(await sandbox.commands.kill(handle.pid)).toBe(true);
    expect((await failureOf(handle.wait())).name).toBe('CommandExitError');
    expect((await run('pgrep -fc "^sleep 987" || true')).stdout.trim()).toBe('0');
    expect(await sandbox.commands.kill(999_999)).toBe(false);
  });

  it('goes on when its client left, and another one hears the rest', async () => {
    const handle = await start('read line; echo "heard $line"', { stdin: true });
    await handle.disconnect();
    expect(await runs(handle.pid)).toBe(true);
    const again = await sandbox.commands.connect(handle.pid);
    await sandbox.commands.sendStdin(handle.pid, 'you\n');
    expect(await again.wait()).toMatchObject({ exitCode: 0, stdout: 'heard you\n' });
  });

  it('tells two listeners the same', async () => {
    const handle = await start('read line; echo "$line"', { stdin: true });
    const second = await sandbox.commands.connect(handle.pid);
    await handle.sendStdin('both\n');
    expect((await Promise.all([handle.wait(), second.wait()])).map(({ stdout }) => stdout)).toEqual(['both\n', 'both\n']);
  });

  it('tells a listener that comes late the end', async () => {
    const handle = await start('exit 3');
    await failureOf(handle.wait());
    expect((await failureOf((await sandbox.commands.connect(handle.pid)).wait())).error).toMatchObject({ exitCode: 3 });
  });

  it('NotFoundError for a process that never was', async () => {
    expect((await failureOf(sandbox.commands.connect(999_999))).name).toBe('NotFoundError');
    expect((await failureOf(sandbox.commands.sendStdin(999_999, 'x'))).name).toBe('NotFoundError');
  });

  it('leaves what it put into the background of its own to itself', async () => {
    const { stdout } = await run('nohup sleep 300 >/dev/null 2>&1 & echo $!');
    expect(await alive(Number(stdout))).toBe(true);
    await run(`kill ${Number(stdout)}`);
  });
});

describe('standard input', () => {
  it('is closed unless asked for', async () => {
    expect((await run('cat; echo end', { timeoutMs: 20_000 })).stdout).toBe('end\n');
  });

  it('takes lines, empty ones, any characters, and its end', async () => {
    const handle = await start('cat', { stdin: true });
    for (const text of ['one\n', '\n', 'ąę🙂\n', '\u0001\u0002']) await handle.sendStdin(text);
    await handle.closeStdin();
    expect((await handle.wait()).stdout).toBe('one\n\nąę🙂\n\u0001\u0002');
  });

  it('takes 2 MB in pieces, whole and in order', async () => {
    const handle = await start('sha256sum', { stdin: true });
    const piece = new Uint8Array(64 << 10).map((_, i) => i % 251);
    for (let i = 0; i < 32; i++) await handle.sendStdin(piece);
    await handle.closeStdin();
    const { stdout } = await handle.wait();
    const { createHash } = await import('node:crypto');
    expect(stdout.split(' ')[0]).toBe(createHash('sha256').update(Buffer.concat(Array.from({ length: 32 }, () => piece))).digest('hex'));
  });

  it('InvalidArgumentError where there is none', async () => {
    const handle = await start('sleep 100');
    expect(['InvalidArgumentError', 'SandboxError']).toContain((await failureOf(handle.sendStdin('x'))).name);
    await handle.kill();
  });
});

describe('time', () => {
  it('TimeoutError after timeoutMs, and the process is no more', async () => {
    const handle = await start('sleep 500', { timeoutMs: 2000 });
    expect((await failureOf(handle.wait())).name).toBe('TimeoutError');
    await until('it is gone', async () => !(await runs(handle.pid)));
    expect(await alive(handle.pid)).toBe(false);
  });

  it('no end of its own with timeoutMs 0', async () => {
    const handle = await start('read x; echo "$x"', { stdin: true, timeoutMs: 0 });
    await handle.sendStdin('late\n');
    expect((await handle.wait()).stdout).toBe('late\n');
  });
});
