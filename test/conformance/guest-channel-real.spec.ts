import { createHash, randomBytes } from 'node:crypto';
import { Agent, request, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { silentLog, systemClock } from '@alcove/base';
import type { ExecRequest } from '@alcove/contracts';
import { openGuestSession, type GuestSession } from '@alcove/runtime';
import { BareGuest } from '@alcove/testing';
import { testTemplate, whereBuilt } from './qemu-machine';

/**
 * The host's end of the channel against the guest agent of a built template, in QEMU without driver or platform. Passed over where there is no template.
 */
const MiB = 1 << 20;

whereBuilt('the guest channel against a real guest', () => {
  jest.setTimeout(120_000);
  let guest: BareGuest;
  let session: GuestSession;
  const never = new AbortController().signal;

  beforeAll(async () => {
    const booted = await BareGuest.boot(testTemplate().folder, (channel, signal) => openGuestSession(channel, { clock: systemClock, log: silentLog, signal, firstAnswerMs: 30_000 }));
    guest = booted.guest;
    session = booted.session;
  });
  afterAll(async () => {
    session?.close();
    await guest?.stop();
  });

  const claim = (incarnation: number, mode: 'fresh' | 'resumed', laterMs = 0) =>
    session.claim({
      roomId: 'room_00000000000000000001',
      incarnation,
      mode,
      entropy: randomBytes(64),
      wallClockNs: BigInt(Math.round(systemClock.now() + laterMs)) * 1_000_000n,
      machineId: '0123456789abcdef0123456789abcdef',
      hostname: 'room',
      env: { GREETING: 'hello' },
    });

  interface Ran {
    out: string;
    err: string;
    exit: { exitCode: number | null; signal: string | null; timedOut: boolean; truncated: boolean };
  }
  async function run(command: ExecRequest['command'], more: Partial<ExecRequest> = {}, signal = never): Promise<Ran> {
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    for await (const event of session.exec({ command, timeoutMs: 60_000, outputBytes: 512 * MiB, ...more }, signal)) {
      if (event.event === 'stdout') out.push(Buffer.from(event.data, 'base64'));
      if (event.event === 'stderr') err.push(Buffer.from(event.data, 'base64'));
      if (event.event === 'exit') return { out: Buffer.concat(out).toString('latin1'), err: Buffer.concat(err).toString('latin1'), exit: event };
    }
    throw new Error('no exit');
  }
  /** Waits until the command succeeds in the room. */
  async function until(command: string): Promise<void> {
    while ((await run(['sh', '-c', command])).exit.exitCode !== 0) await systemClock.sleep(20);
  }
  const write = (path: string, body: Readable | Buffer, signal = never) => session.writeFile({ path, makeParents: true }, Buffer.isBuffer(body) ? Readable.from([body]) : body, signal);

  it('serves nothing but figures before the claim, then everything', async () => {
    expect((await session.stats()).memTotal).toBeGreaterThan(100 * MiB);
    await expect(session.statFile('/', never)).rejects.toMatchObject({ code: 'file.denied' });
    const { bootNonce, bootId } = await claim(1, 'fresh');
    expect(bootNonce).toMatch(/^[0-9a-f]{32}$/);
    expect(bootId).toMatch(/^[0-9a-f-]{36}$/);
    expect(await session.ready()).toMatchObject({ agentRunning: true, cloneSafe: true });
    expect(await claim(2, 'resumed')).toMatchObject({ bootNonce });
    expect((await run('echo $GREETING; cat /etc/machine-id; hostname')).out).toBe('hello\n0123456789abcdef0123456789abcdef\nroom\n');
  });

  describe('exec', () => {
    it('gives output, errors, exit codes and signals', async () => {
      expect(await run('echo out; echo err >&2; exit 3')).toMatchObject({ out: 'out\n', err: 'err\n', exit: { exitCode: 3, signal: null, timedOut: false, truncated: false } });
      expect((await run('kill -TERM $$')).exit).toMatchObject({ exitCode: null, signal: 'SIGTERM' });
      expect((await run(['printf', '%s|', 'a b', '', '$x'])).out).toBe('a b||$x|');
    });
    it('gives input, environment, working directory and user', async () => {
      expect((await run('cat; echo $A $PWD; id -un', { stdin: 'in\n', env: { A: 'b' }, cwd: '/tmp', user: 'root' })).out).toBe('in\nb /tmp\nroot\n');
      const long = 'x'.repeat(2 * MiB);
      expect((await run(['wc', '-c'], { stdin: long })).out.trim()).toBe(String(long.length));
    });
    it('ends what takes too long or says too much', async () => {
      expect((await run('sleep 60', { timeoutMs: 100 })).exit).toMatchObject({ timedOut: true });
      const loud = await run('yes', { outputBytes: 100_000 });
      expect(loud.out.length).toBe(100_000);
      expect(loud.exit).toMatchObject({ truncated: true });
    });
    it('says what cannot be run', async () => {
      await expect(run(['/no/such/program'])).rejects.toMatchObject({ code: 'exec.not_found' });
      await expect(run(['true'], { user: 'nobody-of-that-name' })).rejects.toMatchObject({ code: expect.stringMatching(/^(request\.invalid|exec\.not_found)$/) as unknown });
      await expect(run(['true', 'x'.repeat(70_000)])).rejects.toMatchObject({ code: 'request.too_large' });
    });
    it('kills the process group when the caller leaves or aborts', async () => {
      const leaving = new AbortController();
      const events = session.exec({ command: 'echo $$; sleep 1000 & sleep 1000', timeoutMs: 600_000, outputBytes: MiB }, leaving.signal);
      for await (const event of events) if (event.event === 'stdout') break;
      await until('! pgrep -f "sleep 1000" | grep -v $$');
      const aborted = run('echo started; sleep 2000', {}, leaving.signal);
      await until('pgrep -f "sleep 2000" | grep -qv $$');
      leaving.abort(new Error('left'));
      await expect(aborted).rejects.toThrow('left');
      await until('! pgrep -f "^sleep 2000"');
    });
    it('waits for a slow reader without taking memory', async () => {
      const events = session.exec({ command: ['head', '-c', String(8 * MiB), '/dev/zero'], timeoutMs: 60_000, outputBytes: 16 * MiB }, never);
      let bytes = 0;
      for await (const event of events) {
        if (event.event !== 'stdout') continue;
        if (bytes === 0) await systemClock.sleep(50);
        bytes += Buffer.from(event.data, 'base64').length;
      }
      expect(bytes).toBe(8 * MiB);
    });
  });

  describe('files', () => {
    it('are written, read, listed, moved and removed', async () => {
      expect(await write('notes/a.txt', Buffer.from('alpha'))).toEqual({ size: 5 });
      const stat = await session.statFile('notes/a.txt', never);
      expect(stat).toMatchObject({ name: 'a.txt', kind: 'file', size: 5, mode: '0644', uid: 1000, target: null });
      const read = await session.readFile({ path: 'notes/a.txt', offset: 1, length: 3 }, never);
      expect([read.size, Buffer.concat(await read.body.toArray()).toString()]).toEqual([5, 'lph']);
      await session.makeFolder('notes/deep', { mode: '700' }, never);
      await run('ln -s a.txt notes/link');
      const list = await session.listFiles({ path: 'notes', limit: 10 }, never);
      expect(list.entries.map((e) => [e.name, e.kind, e.target])).toEqual([['a.txt', 'file', null], ['deep', 'directory', null], ['link', 'symlink', 'a.txt']]);
      expect(list.truncated).toBe(false);
      expect(await session.listFiles({ path: 'notes', limit: 2 }, never)).toMatchObject({ truncated: true, entries: [{}, {}] });
      await session.moveFile('notes/a.txt', 'notes/b.txt', never);
      await session.removeFile('notes/b.txt', false, never);
      await expect(session.removeFile('notes', false, never)).rejects.toMatchObject({ code: 'file.not_empty' });
      await session.removeFile('notes', true, never);
      await expect(session.statFile('notes', never)).rejects.toMatchObject({ code: 'file.not_found' });
    });
    it('give their own problems', async () => {
      await expect(session.readFile({ path: '/no/such' }, never)).rejects.toMatchObject({ code: 'file.not_found' });
      await expect(session.readFile({ path: '/etc' }, never)).rejects.toMatchObject({ code: 'file.kind' });
      await expect(session.readFile({ path: '/etc/shadow' }, never)).rejects.toMatchObject({ code: 'file.denied' });
      await expect(session.listFiles({ path: '/etc/passwd', limit: 1 }, never)).rejects.toMatchObject({ code: 'file.kind' });
      await expect(session.makeFolder('/tmp', {}, never)).rejects.toMatchObject({ code: 'file.exists' });
      await expect(write('/etc/x', Buffer.from('x'))).rejects.toMatchObject({ code: 'file.denied' });
      await expect(write('/tmp', Buffer.from('x'))).rejects.toMatchObject({ code: 'file.kind' });
    });
    it('of 32 MiB go both ways unchanged', async () => {
      const chunk = randomBytes(MiB);
      const chunks = 32;
      const sent = createHash('sha256');
      for (let i = 0; i < chunks; i++) sent.update(chunk);
      const wanted = sent.digest('hex');
      await write('big', Readable.from((function* () { for (let i = 0; i < chunks; i++) yield chunk; })()));
      const { size, body } = await session.readFile({ path: 'big' }, never);
      const got = createHash('sha256');
      for await (const bytes of body) got.update(bytes as Buffer);
      expect([size, got.digest('hex')]).toEqual([chunks * MiB, wanted]);
      await session.removeFile('big', false, never);
    });
    it('that were written by half leave nothing behind', async () => {
      const stop = new AbortController();
      let sent = 0;
      const body = new Readable({
        read() {
          sent += 1;
          this.push(Buffer.alloc(65_536));
          if (sent === 20) stop.abort(new Error('stopped'));
        },
      });
      await expect(write('half/file', body, stop.signal)).rejects.toThrow('stopped');
      expect(body.destroyed).toBe(true);
      await until('test -z "$(ls -A half)"');
    });
    it('whose source fails leave nothing behind', async () => {
      const source = Readable.from((async function* () { yield Buffer.alloc(1000); await Promise.resolve(); throw new Error('source'); })());
      await expect(write('half/file', source)).rejects.toThrow('source');
      await until('test -z "$(ls -A half)"');
    });
    it('that are read by half stop being sent', async () => {
      const { body } = await session.readFile({ path: '/bin/bash' }, never);
      for await (const bytes of body) {
        expect((bytes as Buffer).length).toBeGreaterThan(0);
        break;
      }
      await session.ping(5_000);
    });
  });

  describe('connect', () => {
    const ask = (agent: Agent | undefined, path: string, body?: string): Promise<{ status: number; body: string }> =>
      new Promise((resolve, reject) => {
        const connecting = session.connect(8080, 5_000, never);
        connecting.then((socket) => {
          const sent = request({ createConnection: () => socket, ...(agent ? { agent } : {}), path, method: body === undefined ? 'GET' : 'POST', headers: { host: 'room', 'content-type': 'application/json' } }, (answer: IncomingMessage) => {
            answer.toArray().then((chunks) => resolve({ status: answer.statusCode ?? 0, body: Buffer.concat(chunks as Buffer[]).toString() }), reject);
          });
          sent.on('error', reject);
          sent.end(body);
        }, reject);
      });
    it('carries HTTP to the agent', async () => {
      const ping = await ask(undefined, '/ping');
      expect(ping.status).toBe(200);
      expect(ping.body).toMatch(/Healthy/);
      const answer = await ask(undefined, '/invocations', JSON.stringify({ prompt: 'hello' }));
      expect(answer.status).toBe(200);
    });
    it('says when nobody listens', async () => {
      const socket = await session.connect(9, 0, never);
      await expect(socket.toArray()).rejects.toMatchObject({ code: 'agent.unreachable' });
    });
    it('is a door the other way round: from a program of the room to the host, whatever else listens on port 80', async () => {
      const name = 'memory.alcove.internal';
      // The first call makes the name known, so it comes before whoever asks for it.
      const first = session.openDoor([name], never);
      await until(`getent hosts ${name}`);
      const asked = run(['sh', '-c', `python3 -m http.server 80 --bind 0.0.0.0 >/dev/null 2>&1 & curl -sS --retry 20 --retry-connrefused -o /dev/null http://127.0.0.1/; curl -sS http://${name}/x; kill $!`]);
      const socket = await first;
      const chunks: Buffer[] = [];
      for await (const chunk of socket as AsyncIterable<Buffer>) {
        chunks.push(chunk);
        if (chunk.includes('\r\n\r\n')) break;
      }
      expect(Buffer.concat(chunks).toString()).toMatch(/^GET \/x HTTP\/1.1\r\nHost: memory\.alcove\.internal\r\n/);
      await asked;
      const waiting = session.openDoor([name], never);
      const heard = run(['curl', '-sS', `http://${name}/y`]);
      const answered = await waiting;
      answered.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi');
      expect((await heard).out).toBe('hi');
      await expect(session.openDoor(['no name'], never)).rejects.toMatchObject({ code: 'guest.io' });
      const stop = new AbortController();
      const given = session.openDoor([name], stop.signal);
      stop.abort(new Error('stopped'));
      await expect(given).rejects.toThrow('stopped');
    });
    it('says hello when somebody listens, and refuses when nobody does', async () => {
      const socket = await session.connect(8080, 5_000, never, { hello: true });
      socket.destroy();
      await expect(session.connect(9, 0, never, { hello: true })).rejects.toMatchObject({ code: 'agent.unreachable' });
    });
    it('waits for somebody to listen', async () => {
      const socket = await session.connect(7001, 20_000, never);
      const listening = run(['bash', '-c', `exec node -e 'require("net").createServer({allowHalfOpen:true},s=>s.pipe(s).on("finish",()=>process.exit())).listen(7001,"127.0.0.1")'`]);
      socket.end('echo');
      expect(Buffer.concat((await socket.toArray()) as Buffer[]).toString()).toBe('echo');
      expect((await listening).exit.exitCode).toBe(0);
    });
    it('ends with its signal', async () => {
      const stop = new AbortController();
      const socket = await session.connect(7002, 60_000, stop.signal);
      stop.abort(new Error('stopped'));
      await expect(socket.toArray()).rejects.toThrow('stopped');
    });
  });

  it('100 streams at once', async () => {
    const outs = await Promise.all(Array.from({ length: 100 }, (_, i) => run(['echo', String(i)])));
    expect(outs.map((o) => o.out)).toEqual(Array.from({ length: 100 }, (_, i) => `${i}\n`));
  });

  it('logs', async () => {
    const tail = await session.logs({ follow: false, tailBytes: 1000 }, never);
    expect(Buffer.concat((await tail.toArray()) as Buffer[]).length).toBeLessThanOrEqual(1000);
    const stop = new AbortController();
    const followed = await session.logs({ follow: true, tailBytes: 0 }, stop.signal);
    stop.abort(new Error('enough'));
    await expect(followed.toArray()).rejects.toThrow('enough');
  });

  it('is silent after quiesce and can be synchronised again', async () => {
    const forever = run('sleep 3000');
    const failing = expect(forever).rejects.toMatchObject({ code: 'guest.closed' });
    await session.quiesce();
    await failing;
    await expect(session.stats()).rejects.toMatchObject({ code: 'guest.closed' });
    await session.resynchronise();
    expect((await run('echo again')).out).toBe('again\n');
    await until('! pgrep -f "^sleep 3000"');
  });

  it('lets nothing of the room run between a quiesce and the end of the next claim', async () => {
    // Each line: which claim the room lives under, and its clock. A process that ran meanwhile would see the new clock under the old claim.
    await run(['sh', '-c', 'setsid bash -c \'while :; do read -r claim < /run/alcove/claim; echo "$claim $EPOCHSECONDS"; done\' > /home/user/seen 2>&1 < /dev/null &']);
    await until('test -s /home/user/seen');
    const began = Math.floor(systemClock.now() / 1000);
    for (let round = 1; round <= 5; round++) {
      await session.quiesce();
      await session.resynchronise();
      await claim(1 + round, 'resumed', round * 3_600_000);
      await until(`test $(tail -n 1 /home/user/seen | cut -d " " -f 2) -ge ${began + round * 3600}`);
    }
    await run('pkill -f EPOCHSECONDS');
    const claims: string[] = [];
    const torn = new Map<string, number>();
    for (const line of (await run(['cat', '/home/user/seen'])).out.trim().split('\n')) {
      const [id = '', seconds] = line.split(' ');
      if (claims.at(-1) !== id) claims.push(id);
      if (Number(seconds) - began + 60 >= claims.length * 3600) torn.set(id, (torn.get(id) ?? 0) + 1);
    }
    expect(claims).toHaveLength(6);
    // A process may be frozen between reading the one and the other, once.
    expect(Math.max(0, ...torn.values())).toBeLessThanOrEqual(1);
  });

  it('takes a new host after the old one left in the middle of everything', async () => {
    const forever = run('while :; do head -c 300000 /dev/zero; done');
    const failing = expect(forever).rejects.toMatchObject({ code: 'guest.closed' });
    await session.ping(5_000);
    session.close();
    await failing;
    expect(await session.closed).toMatchObject({ code: 'guest.closed' });
    session = await openGuestSession(await guest.connect(), { clock: systemClock, log: silentLog });
    expect((await run('echo new')).out).toBe('new\n');
  });

  it('ends when the machine does', async () => {
    const forever = run('sleep 4000');
    const failing = expect(forever).rejects.toMatchObject({ code: 'guest.closed' });
    await session.ping(5_000);
    await guest.stop();
    await failing;
    expect(await session.closed).toMatchObject({ code: 'guest.closed' });
    await expect(session.stats()).rejects.toMatchObject({ code: 'guest.closed' });
  });
});
