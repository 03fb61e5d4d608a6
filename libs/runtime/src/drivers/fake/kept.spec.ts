import { newId, Secret } from '@alcove/base';
import { ProcessStart } from '@alcove/contracts';
import { Heard } from '@alcove/testing';
import type { RoomSpec, Template } from '../../driver';
import { FakeDriver } from './driver';
import { FakeWorld } from './world';

const never = new AbortController().signal;
const template: Template = {
  folder: '/nonexistent',
  manifest: {
    version: 1, id: `tpl_${'0'.repeat(20)}`, name: 'default', builtAt: '2026-01-01T00:00:00.000Z', cloneSafe: true, size: { memoryMiB: 512, vcpus: 1, diskMiB: 4096 },
    engine: { driver: 'fake', build: 'fake-1', accelerator: 'none', cpuModel: 'none', protocol: 1 }, files: {}, port: 8080,
  },
};

function spec(roomId: string, incarnation: number): RoomSpec {
  const keys = { image: new Secret(Buffer.alloc(32, 7)), disk: new Secret(Buffer.alloc(32, 8)) };
  return { roomId, incarnation, template, keys, env: { A: 'room' }, hasDisk: incarnation > 1 };
}

const script = (text: string, more: Partial<ProcessStart> = {}) => ProcessStart.parse({ command: ['/bin/bash', '-l', '-c', text], ...more });

async function room() {
  const world = new FakeWorld();
  const driver = new FakeDriver({ world });
  const roomId = newId('room');
  const { guest } = await driver.restore(spec(roomId, 1), { kind: 'template' });
  return { world, driver, roomId, guest };
}

it('speaks enough of a shell', async () => {
  const { driver, guest, roomId } = await room();
  const said = async (text: string, more: Partial<ProcessStart> = {}) => {
    const heard = new Heard((signal) => guest.startProcess(script(text, more), signal));
    await heard.over;
    return { text: heard.stdout + heard.stderr, exit: heard.exit };
  };
  expect(await said('echo hello; exit 3')).toMatchObject({ text: 'hello\n', exit: { exitCode: 3 } });
  expect(await said('pwd && echo "$A $B"', { cwd: '/tmp', env: { B: 'b' } })).toMatchObject({ text: '/tmp\nroom b\n', exit: { exitCode: 0 } });
  expect(await said('false || echo or; true && echo and; false && echo not')).toMatchObject({ text: 'or\nand\n' });
  expect(await said("i=0; while true; do i=$((i+1)); echo $i; false || exit 7; done")).toMatchObject({ exit: { exitCode: 7 } });
  expect(await said('bash -c "exit 4"; echo $?')).toMatchObject({ text: '4\n' });
  expect(await said('echo one > f; echo two >> f; cat f')).toMatchObject({ text: 'one\ntwo\n' });
  expect(await said('tty; stty size', { pty: { cols: 80, rows: 24 } })).toMatchObject({ text: '/dev/pts/0\r\n24 80\r\n' });
  expect(await said('nothing-like-it')).toMatchObject({ text: 'bash: nothing-like-it: command not found\n', exit: { exitCode: 127 } });
  expect(await said('printenv HOME; whoami', { user: 'root' })).toMatchObject({ text: '/root\nroot\n' });
  await driver.stop({ roomId, incarnation: 1 });
});

it('keeps a process over the restart of its host and over a sleep', async () => {
  const { world, driver, roomId, guest } = await room();
  const first = new Heard((signal) => guest.startProcess(script('i=0; while true; do i=$((i+1)); echo "n$i"; read line; done', { stdin: true, tag: 'loop' }), signal));
  await first.until(() => first.stdout === 'n1\n');
  await first.leave();
  await driver.close();
  const second = new FakeDriver({ world });
  const [found] = await second.inspect();
  const again = (await second.recover(found!)).guest;
  const attached = new Heard((signal) => again.attachProcess({ tag: 'loop' }, signal));
  await attached.started();
  await again.writeProcess({ pid: first.pid }, Buffer.from('\n'), { close: false }, never);
  await attached.until(() => attached.stdout === 'n2\n');
  const { image } = await second.seal(spec(roomId, 1), { generation: 1 });
  await attached.over;
  expect(attached.failure).toMatchObject({ code: 'guest.closed' });
  const woken = (await second.restore(spec(roomId, 2), { kind: 'image', image })).guest;
  expect(await woken.listProcesses(never)).toMatchObject([{ pid: first.pid, tag: 'loop' }]);
  const third = new Heard((signal) => woken.attachProcess({ pid: first.pid }, signal));
  await third.until(() => third.pid === first.pid);
  await woken.writeProcess({ tag: 'loop' }, Buffer.from('\n'), { close: false }, never);
  await third.until(() => third.stdout === 'n3\n');
  await woken.signalProcess({ pid: first.pid }, 9, never);
  await third.over;
  expect(third.exit).toMatchObject({ exitCode: null, signal: 'SIGKILL' });
  const late = new Heard((signal) => woken.attachProcess({ pid: first.pid }, signal));
  await late.over;
  expect(late).toMatchObject({ pid: first.pid, stdout: '', exit: { signal: 'SIGKILL' } });
  await second.stop({ roomId, incarnation: 2 });
});

it('has a terminal: echo, a prompt, Ctrl-C, Ctrl-D', async () => {
  const { driver, roomId, guest } = await room();
  const heard = new Heard((signal) => guest.startProcess(ProcessStart.parse({ command: ['/bin/bash', '-i', '-l'], pty: { cols: 80, rows: 24 } }), signal));
  const type = (keys: string) => guest.writeProcess({ pid: heard.pid }, Buffer.from(keys), { close: false }, never);
  await heard.until(() => heard.stdout.endsWith('$ '));
  await type('echo hi\n');
  await heard.until(() => /echo hi\r\nhi\r\n.*\$ $/s.test(heard.stdout));
  await guest.resizeProcess({ pid: heard.pid }, { cols: 100, rows: 30 }, never);
  await type('stty size\r');
  await heard.until(() => /30 100\r\n.*\$ $/s.test(heard.stdout));
  await type('sleep 1000\n');
  await type('\x03');
  await type('echo $?\n');
  await heard.until(() => /130\r\n/.test(heard.stdout));
  await type('\x04');
  await heard.over;
  expect(heard.exit).toMatchObject({ exitCode: 0 });
  await driver.stop({ roomId, incarnation: 1 });
});
