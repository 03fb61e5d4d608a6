/**
 * `./alcove` as a person uses it: up, three curl lines, crashes, down. With the fake driver: what is tested is the door and the supervisor, not rooms.
 */
import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inheritedEnvironment } from '../../apps/cli/src/cli.config';
import { ensureCertificates } from '../../apps/cli/src/setup/certificates';

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

interface Up {
  url: string;
  key: string;
  curl: string[];
  e2b: { domain: string; lines: string[] };
  startedNow: boolean;
}

interface Status {
  up: boolean;
  platform: { pid: number; services: { name: string; pid: number | null; state: string; restarts: number }[] } | null;
}

jest.setTimeout(240_000);

describe('./alcove', () => {
  const root = join(__dirname, '../..');
  let home: string;
  let settings: Record<string, string> = {};

  const run = (command: string, args: string[]): Promise<Outcome> =>
    new Promise((resolve) => {
      execFile(command, args, { cwd: root, env: inheritedEnvironment({ ALCOVE_HOME: home, ALCOVE_DRIVER: 'fake', NO_COLOR: '1', ...settings }) }, (error, stdout, stderr) => {
        resolve({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, stdout, stderr });
      });
    });
  const alcove = (...args: string[]): Promise<Outcome> => run(join(root, 'alcove'), args);
  const status = async (): Promise<Status> => JSON.parse((await alcove('status', '--json')).stdout) as Status;
  const up = async (): Promise<Up> => {
    const outcome = await alcove('up', '--json');
    expect(outcome).toMatchObject({ code: 0 });
    return JSON.parse(outcome.stdout) as Up;
  };

  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'alcove-home-'));
    await chmod(home, 0o755);
  });
  afterAll(async () => {
    await alcove('down', '--now');
    await rm(home, { recursive: true, force: true });
  });

  it('helps, suggests, and refuses what it does not know', async () => {
    expect(await alcove('help')).toMatchObject({ code: 0, stdout: expect.stringContaining('./alcove demo') });
    expect(await alcove('stauts')).toMatchObject({ code: 64, stderr: expect.stringContaining('did you mean "status"') });
    expect(await alcove('status', '--nope')).toMatchObject({ code: 64 });
    expect((await alcove('completion', 'bash')).stdout).toContain('complete -F _alcove');
    expect(await alcove('status')).toMatchObject({ code: 1, stdout: expect.stringContaining('down') });
    expect(await alcove('down')).toMatchObject({ code: 0 });
  });

  it('comes up, and its three curl lines work when pasted', async () => {
    const { curl, startedNow } = await up();
    expect(startedNow).toBe(true);
    expect(curl).toHaveLength(3);
    const answers: string[] = [];
    for (const line of curl) {
      const outcome = await run('bash', ['-c', line]);
      expect(outcome).toMatchObject({ code: 0 });
      answers.push(outcome.stdout);
    }
    expect(JSON.parse(answers[0] ?? '')).toMatchObject({ rooms: [{ userId: 'you' }] });
    expect(JSON.parse(answers[1] ?? '')).toMatchObject({ reply: expect.stringContaining('Good morning!') });
    expect(answers[2]).toContain('event: exit');
  });

  it("prints what a program with E2B's SDK needs: names, certificate and key are good", async () => {
    const { e2b, key } = await up();
    expect(e2b.lines).toContain(`export E2B_API_KEY=${key}`);
    const program = "fetch('https://api.' + process.env.E2B_DOMAIN + '/v2/sandboxes', { headers: { 'X-API-KEY': process.env.E2B_API_KEY } }).then(async (answer) => console.log(answer.status, await answer.text()))";
    const outcome = await run('bash', ['-c', `${e2b.lines.join('\n')}\n"${process.execPath}" -e "${program}"`]);
    expect(outcome).toMatchObject({ code: 0, stdout: expect.stringMatching(/^200 \[/) });
    expect((await alcove('status')).stdout).toContain(`E2B_DOMAIN=${e2b.domain}`);
  });

  it('coming up twice changes nothing', async () => {
    const before = await status();
    expect((await up()).startedNow).toBe(false);
    expect((await status()).platform?.pid).toBe(before.platform?.pid);
  });

  it('starts a process again that was killed', async () => {
    const worker = (await status()).platform?.services.find(({ name }) => name === 'worker');
    kill(worker?.pid);
    for (;;) {
      const now = (await status()).platform?.services.find(({ name }) => name === 'worker');
      if (now?.state === 'ready' && now.pid !== worker?.pid) break;
    }
  });

  it('comes up again after its supervisor was killed, with the same URL, key and room', async () => {
    const before = await up();
    kill((await status()).platform?.pid);
    expect(await status()).toMatchObject({ up: false, platform: null });
    const after = await up();
    expect(after.startedNow).toBe(true);
    expect(after.curl).toEqual(before.curl);
  });

  it('goes down twice without complaint, and takes another port when its own is taken', async () => {
    const before = await up();
    expect(await alcove('down')).toMatchObject({ code: 0 });
    expect(await alcove('down')).toMatchObject({ code: 0 });
    const squatter = await squatOn(Number(new URL(before.url).port));
    try {
      const after = await up();
      expect(after.url).not.toBe(before.url);
      expect(after.key).toBe(before.key);
    } finally {
      squatter.close();
    }
  });

  it("serves E2B's clients with a certificate, domain and address of one's own", async () => {
    await alcove('down');
    const own = join(home, 'own');
    await mkdir(own);
    await ensureCertificates(own, [], 'rooms.example.com');
    settings = { ALCOVE_E2B_DOMAIN: 'rooms.example.com', ALCOVE_EDGE_ADDRESS: '127.0.0.2', ALCOVE_EDGE_CERT: join(own, 'public.crt') };
    expect(await alcove('up')).toMatchObject({ code: 78, stderr: expect.stringContaining('ALCOVE_EDGE_KEY') });
    settings['ALCOVE_EDGE_KEY'] = join(own, 'public.key');
    const { e2b, key } = await up();
    expect(e2b.lines).toEqual([`export E2B_DOMAIN=${e2b.domain}`, `export E2B_API_KEY=${key}`]);
    const [name, port] = e2b.domain.split(':');
    const call = ['-fsS', '--cacert', join(own, 'ca.crt'), '--resolve', `api.${name}:${port}:127.0.0.2`, '-H', `X-API-KEY: ${key}`, `https://api.${e2b.domain}/v2/sandboxes`];
    expect(await run('curl', call)).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\[/) });
    expect((await alcove('doctor')).stdout).toContain('*.rooms.example.com');
  });
});

/** kill -9; never of nobody, because process 0 is this process's whole group. */
function kill(pid: number | null | undefined): void {
  if (!pid) throw new Error('there is no such process');
  process.kill(pid, 'SIGKILL');
}

function squatOn(port: number): Promise<Server> {
  return new Promise((resolve) => {
    const server: Server = createServer().listen(port, '127.0.0.1', () => resolve(server));
  });
}
