/** What happens to work under way when one of its ends goes: the sandbox, the client, its time. On real rooms. */
import { randomBytes } from 'node:crypto';
import { Sandbox, type CommandHandle } from 'e2b';
import { testConfig } from '../../e2e/e2e.config';
import { until } from '../../e2e/platform';
import { failureOf, roomIdOf, Tenancy } from './sdk';
import { ask, frame, stream, surfaceOf, tokenOf } from './wire';

jest.setTimeout(240_000);
let mine: Tenancy;
beforeAll(async () => {
  mine = await Tenancy.open('qemu');
});
afterAll(() => mine?.close());

/** A command that has begun to write and does not stop. */
async function chattering(sandbox: Sandbox): Promise<{ handle: CommandHandle; heard: () => number }> {
  let heard = 0;
  const handle = await sandbox.commands.run('while :; do echo line; sleep 0.05; done', { background: true, timeoutMs: 0, onStdout: (data: string) => void (heard += data.length) });
  await until('it writes', () => Promise.resolve(heard > 0));
  return { handle, heard: () => heard };
}

const killedInFlight = /killed or reached its end of life/;

describe('a kill during a stream', () => {
  it('breaks the stream, and the SDK says that the sandbox was killed (HTTP/2)', async () => {
    const sandbox = await mine.create();
    const { handle } = await chattering(sandbox);
    const end = failureOf(handle.wait());
    expect(await sandbox.kill()).toBe(true);
    expect(await end).toMatchObject({ name: 'TimeoutError', message: expect.stringMatching(killedInFlight) as string });
  });

  it('breaks it also when the command says nothing', async () => {
    const sandbox = await mine.create();
    const handle = await sandbox.commands.run('sleep 1000', { background: true, timeoutMs: 0 });
    const end = failureOf(handle.wait());
    await sandbox.kill();
    expect(await end).toMatchObject({ name: 'TimeoutError', message: expect.stringMatching(killedInFlight) as string });
  });

  it('breaks the connection over HTTP/1.1, with no end that looks whole', async () => {
    const sandbox = await mine.create();
    const running = await stream(sandbox, 'process.Process/Start', { process: { cmd: '/bin/sleep', args: ['1000'] } });
    const ends = (async () => {
      const flags: number[] = [];
      for await (const one of running) flags.push(one.flags);
      return flags;
    })().then((flags) => `ended with ${flags.join()}`, () => 'broken');
    await sandbox.kill();
    expect(await ends).toBe('broken');
  });

  it('breaks a watch, a terminal and a download', async () => {
    const sandbox = await mine.create();
    const ends: (Error | undefined)[] = [];
    await sandbox.files.watchDir('.', () => undefined, { timeoutMs: 0, onExit: (error?: Error) => void ends.push(error) });
    const terminal = await sandbox.pty.create({ cols: 80, rows: 24, timeoutMs: 0, onData: () => undefined });
    const end = failureOf(terminal.wait());
    await sandbox.commands.run('head -c 20000000 /dev/zero > large');
    const reader = (await sandbox.files.read('large', { format: 'stream' })).getReader();
    await reader.read();
    await sandbox.kill();
    expect((await end).name).toBe('TimeoutError');
    await until('the watch ended', () => Promise.resolve(ends.length > 0));
    expect(ends[0]?.constructor.name).toBe('TimeoutError');
    const rest = (async () => {
      let bytes = 0;
      for (let one = await reader.read(); !one.done; one = await reader.read()) bytes += one.value.length;
      return bytes;
    })();
    expect(await rest.then((bytes) => bytes < 19_000_000 ? 'short' : 'whole', () => 'broken')).not.toBe('short');
  });
});

describe('a pause during a stream', () => {
  it('breaks the stream and not the process: it is heard of again after the resume', async () => {
    const sandbox = await mine.create();
    const { handle } = await chattering(sandbox);
    const end = failureOf(handle.wait());
    await sandbox.pause();
    await end;
    await sandbox.connect();
    let heard = '';
    const again = await sandbox.commands.connect(handle.pid, { timeoutMs: 0, onStdout: (data: string) => void (heard += data) });
    await until('it writes again', () => Promise.resolve(heard.includes('line\n')));
    expect(await again.kill()).toBe(true);
  });
});

describe('a client that goes away', () => {
  it('leaves its process running, and its work done', async () => {
    const sandbox = await mine.create();
    const enough = new AbortController();
    const handle = await sandbox.commands.run('read line; echo "$line" > done', { background: true, stdin: true, timeoutMs: 0, signal: enough.signal });
    enough.abort();
    await handle.disconnect();
    expect((await sandbox.commands.list()).map(({ pid }) => pid)).toContain(handle.pid);
    await sandbox.commands.sendStdin(handle.pid, 'kept\n');
    await until('it did its work', async () => (await sandbox.commands.run('cat done 2>/dev/null || true')).stdout === 'kept\n');
  });

  it('leaves it running also when the connection is cut in the middle of its output', async () => {
    const sandbox = await mine.create();
    const running = await stream(sandbox, 'process.Process/Start', { process: { cmd: '/bin/bash', args: ['-c', 'i=0; while :; do i=$((i + 1)); echo $i > count; echo line; done'] }, tag: 'cut' });
    for await (const { message } of running) if (JSON.stringify(message).includes('stdout')) break;
    running.end();
    const count = async (): Promise<number> => Number(await sandbox.files.read('count'));
    const before = await count();
    await until('it goes on counting', async () => (await count()) > before);
  });
});

describe('an upload', () => {
  it('whose sandbox comes to its end in the middle fails as one that was killed, and keeps nothing half', async () => {
    const sandbox = await mine.create({ lifecycle: { onTimeout: 'pause' } });
    await sandbox.files.write('whole.txt', 'the whole');
    let sent = 0;
    const endless = new ReadableStream<Uint8Array>({ pull: async (controller) => { await new Promise((later) => setTimeout(later, 20)); sent += 10_000; controller.enqueue(randomBytes(10_000)); } });
    const end = failureOf(sandbox.files.write('whole.txt', endless, { requestTimeoutMs: 0 }));
    await until('the upload is under way', () => Promise.resolve(sent > 100_000));
    await sandbox.setTimeout(0);
    expect((await end).name).toBe('TimeoutError');
    await until('it is paused', async () => (await sandbox.getInfo()).state === 'paused');
    await sandbox.connect();
    expect(await sandbox.files.read('whole.txt')).toBe('the whole');
    expect((await sandbox.files.list('.')).map(({ name }) => name).filter((name) => name.includes('whole'))).toEqual(['whole.txt']);
  });

  it('that says it is larger than the bound is refused before it is read', async () => {
    const sandbox = await mine.create();
    const answer = await ask(`${surfaceOf(sandbox)}/files?path=claims.bin`, { method: 'POST', headers: { 'x-access-token': tokenOf(sandbox), 'content-type': 'application/octet-stream', 'content-length': String(2 ** 40) }, body: 'short' });
    expect(answer.status).toBe(413);
    expect(await sandbox.files.exists('claims.bin')).toBe(false);
  });

  it('into a full disk says so', async () => {
    const sandbox = await mine.create();
    await sandbox.commands.run('fallocate -l $(( $(df --output=avail -B1 . | tail -1) - 2000000 )) filler || dd if=/dev/zero of=filler bs=1M 2>/dev/null || true', { timeoutMs: 0 });
    const end = await failureOf(sandbox.files.write('too-large.bin', new Blob([new Uint8Array(6_000_000)])));
    expect(end.name).toBe('NotEnoughSpaceError');
    await sandbox.commands.run('rm filler');
    expect(await sandbox.files.exists('too-large.bin')).toBe(false);
  });
});

(testConfig().all ? it : it.skip)('a hundred calls at once, and a failed one among them fails alone', async () => {
  const sandbox = await mine.create();
  const ends = await Promise.all(
    Array.from({ length: 100 }, (_, i) =>
      sandbox.commands.run(i === 50 ? 'exit 9' : `echo ${i}`).then(
        ({ stdout }) => stdout.trim(),
        (error: unknown) => `exit ${(error as { exitCode: number }).exitCode}`,
      ),
    ),
  );
  expect(ends).toEqual(Array.from({ length: 100 }, (_, i) => (i === 50 ? 'exit 9' : String(i))));
});

it('a stream that is framed wrong ends alone, and its sandbox stays well', async () => {
  const sandbox = await mine.create();
  const bad = Buffer.concat([frame({ process: { cmd: '/bin/true' } }), randomBytes(64)]);
  await ask(`${surfaceOf(sandbox)}/process.Process/Start`, { method: 'POST', headers: { 'x-access-token': tokenOf(sandbox), 'content-type': 'application/connect+json' }, body: bad }).catch(() => undefined);
  expect((await sandbox.commands.run('echo well')).stdout).toBe('well\n');
  expect((await mine.v1.room(roomIdOf(sandbox.sandboxId))).state).toBe('running');
});
