/** Terminals in a real room through the SDK. */
import type { CommandHandle, Sandbox } from 'e2b';
import { until } from '../../e2e/platform';
import { failureOf, Tenancy } from './sdk';

jest.setTimeout(180_000);
let mine: Tenancy;
let sandbox: Sandbox;
beforeAll(async () => {
  mine = await Tenancy.open('qemu');
  sandbox = await mine.create({ envs: { FROM_SANDBOX: 'sandbox' } });
});
afterAll(() => mine?.close());

/** A terminal and all that it has shown. */
class Screen {
  #text = '';
  handle!: CommandHandle;
  readonly hear = (data: Uint8Array): void => void (this.#text += Buffer.from(data).toString('utf8'));

  static async open(options: Partial<Parameters<Sandbox['pty']['create']>[0]> = {}): Promise<Screen> {
    const screen = new Screen();
    screen.handle = await sandbox.pty.create({ cols: 80, rows: 24, timeoutMs: 0, ...options, onData: screen.hear });
    return screen;
  }

  get pid(): number {
    return this.handle.pid;
  }

  type(text: string): Promise<void> {
    return sandbox.pty.sendInput(this.pid, Buffer.from(text));
  }

  /** Resolves with what matched. */
  shows(pattern: RegExp): Promise<RegExpExecArray> {
    return until(`the terminal shows ${pattern.source}`, () => Promise.resolve(pattern.exec(this.#text)));
  }
}

it('is a terminal of the size that was asked for, with its variables', async () => {
  const screen = await Screen.open({ cols: 101, rows: 37, envs: { MARK: 'mine' }, cwd: '/tmp' });
  await screen.type('echo "<$(stty size) $TERM $LANG $MARK $FROM_SANDBOX $PWD $(whoami)>"; tty\n');
  expect((await screen.shows(/<(\d[^>]*)>/))[1]).toBe('37 101 xterm-256color C.UTF-8 mine sandbox /tmp user');
  await screen.shows(/\/dev\/pts\/\d+/);
  await screen.type('exit\n');
  expect((await screen.handle.wait()).exitCode).toBe(0);
});

it('is resized', async () => {
  const screen = await Screen.open();
  await sandbox.pty.resize(screen.pid, { cols: 120, rows: 40 });
  await screen.type('echo "<$(stty size)>"\n');
  expect((await screen.shows(/<(\d+ \d+)>/))[1]).toBe('40 120');
  expect(await sandbox.pty.kill(screen.pid)).toBe(true);
});

it('takes keys: an interrupt ends what runs and not the shell', async () => {
  const screen = await Screen.open();
  await screen.type('sleep 1000\n');
  await until('sleep runs', async () => (await sandbox.commands.run('pgrep -fc "^sleep 1000" || true')).stdout.trim() === '1');
  await screen.type('\u0003');
  await screen.type('echo "<still $((40 + 2))>"\n');
  await screen.shows(/<still 42>/);
  await screen.type('exit 5\n');
  expect((await failureOf(screen.handle.wait())).error).toMatchObject({ exitCode: 5 });
});

it('goes on without a client, and another one sees it from there on', async () => {
  const screen = await Screen.open();
  await screen.handle.disconnect();
  const again = new Screen();
  again.handle = await sandbox.pty.connect(screen.pid, { onData: again.hear });
  await again.type('echo "<back $((1 + 1))>"\n');
  await again.shows(/<back 2>/);
  await sandbox.pty.kill(again.pid);
});

it('is listed, killed once, and then not there', async () => {
  const screen = await Screen.open();
  expect((await sandbox.commands.list()).map(({ pid }) => pid)).toContain(screen.pid);
  expect(await sandbox.pty.kill(screen.pid)).toBe(true);
  await failureOf(screen.handle.wait());
  expect(await sandbox.pty.kill(screen.pid)).toBe(false);
});

it('carries a flood, whole and in order', async () => {
  const screen = await Screen.open();
  await screen.type('stty -echo; seq -f "n%06.0f" 1 20000 | sha256sum; seq -f "n%06.0f" 1 20000; echo "<end>"\n');
  await screen.shows(/n020000\s+<end>/);
  const numbers = (await screen.shows(/n000001[\s\S]*n020000/))[0].match(/n\d{6}/g);
  expect(numbers).toHaveLength(20_000);
  expect(numbers?.every((text, i) => Number(text.slice(1)) === i + 1)).toBe(true);
  await sandbox.pty.kill(screen.pid);
});

it('lives through a sleep: the shell, its variables and its job', async () => {
  const screen = await Screen.open();
  await screen.type('kept=in-memory; sleep 5000 &\n');
  await until('sleep runs', async () => (await sandbox.commands.run('pgrep -fc "^sleep 5000" || true')).stdout.trim() === '1');
  await sandbox.pause();
  await sandbox.connect();
  const again = new Screen();
  again.handle = await sandbox.pty.connect(screen.pid, { onData: again.hear });
  await again.type('echo "<$kept $(jobs -r | wc -l)>"\n');
  expect((await again.shows(/<(in-memory \d+)>/))[1]).toBe('in-memory 1');
  await sandbox.pty.kill(again.pid);
});
