import { randomBytes } from 'node:crypto';
import { limits, silentLog, systemClock } from '@alcove/base';
import { ExecRequest, ProcessStart } from '@alcove/contracts';
import { openGuestSession, type GuestSession, type ProcessName } from '@alcove/runtime';
import { BareGuest, Heard } from '@alcove/testing';
import { testTemplate, whereBuilt } from './qemu-machine';

/**
 * What only a real guest can get wrong about processes that outlive their listeners: races between threads, process groups, terminals, limits of the kernel. What every
 * guest promises is in libs/testing/src/guest-conformance.ts.
 */
whereBuilt('kept processes of a real guest', () => {
  jest.setTimeout(120_000);
  let guest: BareGuest;
  let session: GuestSession;
  const never = new AbortController().signal;

  beforeAll(async () => {
    const booted = await BareGuest.boot(testTemplate().folder, (channel, signal) => openGuestSession(channel, { clock: systemClock, log: silentLog, signal, firstAnswerMs: 30_000 }));
    guest = booted.guest;
    session = booted.session;
    const identity = { roomId: 'room_00000000000000000001', incarnation: 1, mode: 'fresh' as const, machineId: '0123456789abcdef0123456789abcdef', hostname: 'room', env: {} };
    await session.claim({ ...identity, entropy: randomBytes(64), wallClockNs: BigInt(Math.round(systemClock.now())) * 1_000_000n });
  });
  afterAll(async () => {
    session?.close();
    await guest?.stop();
  });

  const begin = (command: string[], more: Partial<ProcessStart> = {}) => new Heard((signal) => session.startProcess(ProcessStart.parse({ command, ...more }), signal)).started();
  const script = (words: string, more: Partial<ProcessStart> = {}) => begin(['/bin/bash', '-c', words], more);
  const attach = (which: ProcessName) => new Heard((signal) => session.attachProcess(which, signal)).started();
  const tell = (heard: Heard, words: string, close = false) => session.writeProcess({ pid: heard.pid }, Buffer.from(words), { close }, never);
  const kill = (heard: Heard) => session.signalProcess({ pid: heard.pid }, 9, never);
  async function run(words: string): Promise<string> {
    let out = '';
    for await (const event of session.exec(ExecRequest.parse({ command: words }), never)) if (event.event === 'stdout') out += Buffer.from(event.data, 'base64').toString();
    return out;
  }

  it('are heard from the moment that a listener has their pid', async () => {
    const first = await begin(['cat'], { stdin: true });
    for (let round = 0; round < 100; round++) {
      const heard = new Heard((signal) => session.attachProcess({ pid: first.pid }, signal));
      await heard.started();
      await tell(first, `${round}\n`);
      await first.until(() => first.stdout.endsWith(`${round}\n`));
      await tell(first, '.\n');
      await heard.until(() => heard.stdout.endsWith('.\n'));
      expect(heard.stdout).toBe(`${round}\n.\n`);
      await heard.leave();
    }
    await tell(first, '', true);
    expect(await first.ended()).toMatchObject({ exitCode: 0 });
  });

  it('tell their first words to who started them, and all words before their exit', async () => {
    for (let round = 0; round < 20; round++) {
      const heard = await script('echo first; echo second >&2; echo third');
      await heard.ended();
      expect([heard.stdout, heard.stderr]).toEqual(['first\nthird\n', 'second\n']);
    }
    const long = await begin(['head', '-c', '3000000', '/dev/zero']);
    await long.ended();
    expect(long.stdout.length).toBe(3_000_000);
  });

  it('tell their end to who attaches while they end', async () => {
    for (let round = 0; round < 20; round++) {
      const first = await begin(['cat'], { stdin: true });
      const [, ...heard] = await Promise.all([tell(first, 'last', true), attach({ pid: first.pid }), attach({ pid: first.pid })]);
      for (const one of [first, ...heard]) expect(await one.ended()).toMatchObject({ exitCode: 0 });
      expect(first.stdout).toBe('last');
    }
  });

  it('wait for the slowest who listens, and go on when that one leaves', async () => {
    const first = await script('i=0; while [ $i -lt 40 ]; do head -c 100000 /dev/zero; i=$((i+1)); done');
    const slow = session.attachProcess({ pid: first.pid }, never)[Symbol.asyncIterator]();
    await slow.next();
    // More than both windows and the pipe hold: it cannot have ended.
    await first.until(() => first.stdout.length >= limits.channel.windowBytes / 2);
    expect(await session.listProcesses(never)).toHaveLength(1);
    await slow.return?.();
    expect(await first.ended()).toMatchObject({ exitCode: 0 });
    expect(first.stdout.length).toBe(4_000_000);
  });

  it('go on when the host leaves in the middle of everything, and are found by the next one', async () => {
    const loud = await script('while :; do head -c 300000 /dev/zero; done', { tag: 'loud' });
    const reader = await begin(['cat'], { stdin: true, tag: 'reader' });
    await loud.until(() => loud.stdout.length > 1_000_000);
    session.close();
    await Promise.all([loud.over, reader.over]);
    expect(loud.failure).toMatchObject({ code: 'guest.closed' });
    session = await openGuestSession(await guest.connect(), { clock: systemClock, log: silentLog });
    expect((await session.listProcesses(never)).map(({ pid, tag }) => [pid, tag])).toEqual([[loud.pid, 'loud'], [reader.pid, 'reader']]);
    const again = await attach({ tag: 'loud' });
    await again.until(() => again.stdout.length > 1_000_000);
    await kill(again);
    expect(await again.ended()).toMatchObject({ signal: 'SIGKILL' });
    const read = await attach({ pid: reader.pid });
    await tell(read, 'still here\n', true);
    expect(await read.ended()).toMatchObject({ exitCode: 0 });
    expect(read.stdout).toBe('still here\n');
  });

  it('go on through a quiesce that came to nothing', async () => {
    const counter = await script('i=0; while :; do i=$((i+1)); echo n$i; sleep 0.02; done');
    await counter.until(() => counter.stdout.includes('n3\n'));
    await session.quiesce();
    await session.resynchronise();
    await counter.over;
    const again = await attach({ pid: counter.pid });
    await again.until(() => /n\d+\nn\d+\n/.test(again.stdout));
    await kill(again);
    await again.ended();
  });

  it('are signalled as a group', async () => {
    const heard = await script('sleep 5000 & echo $!; wait');
    await heard.until(() => /^\d+\n$/.test(heard.stdout));
    const child = Number(heard.stdout);
    await kill(heard);
    expect(await heard.ended()).toMatchObject({ signal: 'SIGKILL' });
    while ((await run(`kill -0 ${child} 2>/dev/null && ! grep -q '^State:.Z' /proc/${child}/status && echo there`)) !== '') await systemClock.sleep(20);
  });

  it('do not hold their exit back for children that they left behind', async () => {
    const heard = await script('sleep 5000 & echo done');
    expect(await heard.ended()).toMatchObject({ exitCode: 0 });
    expect(heard.stdout).toBe('done\n');
    await run('pkill -f "sleep 5000"');
  });

  it('have a terminal of their own, with job control', async () => {
    const direct = await script('echo to the terminal > /dev/tty', { pty: { cols: 80, rows: 24 } });
    await direct.ended();
    expect(direct.stdout).toBe('to the terminal\r\n');
    const shell = await begin(['/bin/bash', '--norc', '-i'], { pty: { cols: 80, rows: 24 }, env: { TERM: 'xterm', PS1: '%' } });
    await shell.until(() => shell.stdout.endsWith('%'));
    expect(shell.stdout).not.toMatch(/job control/);
    await tell(shell, 'sleep 5000\n');
    while ((await run('pgrep -fx "sleep 5000"')) === '') await systemClock.sleep(20);
    await tell(shell, '\x03');
    await shell.until(() => /\^C\r\n.*%$/s.test(shell.stdout));
    await tell(shell, 'echo code $?\n');
    await shell.until(() => shell.stdout.includes('code 130\r\n'));
    await session.resizeProcess({ pid: shell.pid }, { cols: 51, rows: 17 }, never);
    await tell(shell, 'stty size; exit 9\n');
    expect(await shell.ended()).toMatchObject({ exitCode: 9 });
    expect(shell.stdout).toContain('17 51\r\n');
  });

  it('end with the machine', async () => {
    const heard = await begin(['sleep', '5000']);
    await guest.stop();
    await heard.over;
    expect(heard.failure).toMatchObject({ code: 'guest.closed' });
  });
});
