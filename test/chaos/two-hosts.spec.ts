/**
 * Two more host agents over one store; one of them loses the network and comes back. The room moves to the other only when the first must have given up, the
 * first fences itself, and what it says later changes nothing.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, readlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { newId } from '@alcove/base';
import { freePort } from '../../apps/cli/src/embedded-postgres';
import { ensureCertificates, tlsFiles } from '../../apps/cli/src/setup/certificates';
import { codeOf, say, startPlatform, until, type Platform } from '../e2e/platform';
import { SeveredWire } from './severed-wire';

jest.setTimeout(600_000);
const root = resolve(__dirname, '../..');

interface ExtraHost {
  id: string;
  folder: string;
  process: ChildProcess;
  wires: SeveredWire[];
}

let platform: Platform;
let hosts: ExtraHost[] = [];
beforeAll(async () => {
  platform = await startPlatform();
  hosts = [await startHost(1), await startHost(2)];
});
afterAll(async () => {
  for (const host of hosts) {
    for (const wire of host.wires) wire.close();
    host.process.kill('SIGKILL');
    for (const vm of await vmsIn(host.folder)) process.kill(vm.pid, 'SIGKILL');
  }
  await platform?.destroy();
});

/** A host agent whose every connection, in and out, runs over wires that can be cut. */
async function startHost(number: number): Promise<ExtraHost> {
  const id = newId('host');
  const folder = join(platform.home, `host-${number}`);
  await mkdir(folder, { recursive: true });
  await ensureCertificates(join(platform.home, 'tls'), [id]);
  const files = tlsFiles(join(platform.home, 'tls'), id);
  const settings = JSON.parse(await readFile(join(platform.home, 'settings.json'), 'utf8')) as { ports: { internal: number } };
  const port = await freePort();
  const [outward, inward] = [await SeveredWire.to(settings.ports.internal), await SeveredWire.to(port)];
  const env = {
    PATH: process.env['PATH'] ?? '', ALCOVE_HOST_ID: id, ALCOVE_HOST_LISTEN: `127.0.0.1:${port}`, ALCOVE_HOST_URL: `https://127.0.0.1:${inward.port}`,
    ALCOVE_CONTROL_URL: `https://127.0.0.1:${outward.port}`, ALCOVE_TLS_CA: files.ca, ALCOVE_TLS_CERT: files.cert, ALCOVE_TLS_KEY: files.key,
    ALCOVE_STORE_DIR: join(platform.home, 'store'), ALCOVE_STORE_GROUP: 'two-hosts', ALCOVE_HOST_DIR: folder,
    ...(process.getuid?.() === 0 ? { ALCOVE_VM_UID_BASE: String(7_500_000 + number * 10_000) } : {}),
  };
  const child = spawn(process.execPath, ['--no-warnings', join(root, 'dist/apps/host/src/main.js')], { env, stdio: ['ignore', 'ignore', 'ignore'] });
  return { id, folder, process: child, wires: [outward, inward] };
}

/** The VMs whose run folder is below this host's folder. */
async function vmsIn(folder: string): Promise<{ pid: number; roomId: string }[]> {
  const found: { pid: number; roomId: string }[] = [];
  for (const entry of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const at = await readlink(join('/proc', entry, 'cwd')).catch(() => '');
    const roomId = /room_[0-9a-f]{20}/.exec(at)?.[0];
    if (at.startsWith(`${folder}/`) && roomId) found.push({ pid: Number(entry), roomId });
  }
  return found;
}

/** Makes rooms until one lives on each of the two hosts. */
async function roomOnEach(): Promise<[string, string]> {
  for (let n = 0; n < 24; n++) {
    const room = (await platform.client.createRoom({ userId: newId('user') })).id;
    await say(platform, room, 'nonce');
    const [first, second] = await Promise.all(hosts.map(async (host) => (await vmsIn(host.folder))[0]?.roomId));
    if (first && second) return [first, second];
  }
  throw new Error('the two hosts got no room each');
}

/** A host that gets new rooms is heard by the control plane, and so is all that it says of old ones. */
async function untilBeating(host: ExtraHost): Promise<void> {
  await until('the mended host takes rooms again', async () => {
    const { id } = await platform.client.createRoom({ userId: newId('user') });
    await say(platform, id, 'count').catch(() => undefined);
    return (await vmsIn(host.folder)).some((vm) => vm.roomId === id);
  }, 180_000);
}

/** The ids of the images that ever stood in the room's row, until it woke from one. */
async function imagesTold(room: string): Promise<string[]> {
  const told: string[] = [];
  const enough = new AbortController();
  for await (const { data } of platform.client.roomEvents(room, null, enough.signal)) {
    const event = JSON.parse(data) as { type: string; resumedFrom: string | null; detail?: { imageId?: string } };
    if (event.type === 'image') told.push(String(event.detail?.imageId));
    if (event.resumedFrom === 'memory') break;
  }
  enough.abort();
  return told;
}

it('fences the host that lost its network, and refuses what it says later', async () => {
  const [left, right] = hosts as [ExtraHost, ExtraHost];
  const [room] = await roomOnEach();
  const before = await platform.client.room(room);
  for (const wire of left.wires) wire.cut();

  await until('the cut-off host has ended its VMs by itself', async () => (await vmsIn(left.folder)).length === 0, 90_000);
  const moved = await until('the room answers from the other host', async () => say(platform, room, 'nonce').catch(() => undefined), 180_000);
  const after = await platform.client.room(room);
  expect(after.incarnation).toBeGreaterThan(before.incarnation);
  expect((await vmsIn(right.folder)).filter((vm) => vm.roomId === room)).toHaveLength(1);

  for (const wire of left.wires) wire.mend();
  await untilBeating(left);
  const settled = await platform.client.room(room);
  expect({ incarnation: settled.incarnation, state: settled.state, image: settled.image }).toEqual({ incarnation: after.incarnation, state: 'running', image: after.image });
  expect((await say(platform, room, 'nonce')).answer.nonce).toBe(moved.answer.nonce);
  expect((await vmsIn(left.folder)).some((vm) => vm.roomId === room)).toBe(false);
});

it('refuses the image that a host finished while it was cut off', async () => {
  const [left, right] = hosts as [ExtraHost, ExtraHost];
  const [room] = await roomOnEach();
  const before = await platform.client.room(room);
  // More to seal than an idle room has, so that the wire is cut in the middle of it.
  await say(platform, room, 'fill 64');
  const images = join(platform.home, 'store/rooms', room, 'images');
  const filesOf = async () => readdir(images).catch(() => [] as string[]);
  const known = new Set(await filesOf());
  const asked = codeOf(platform.client.hibernate(room)).catch(() => 'lost');
  await until('the image is being written', async () => (await filesOf()).some((name) => name.endsWith('.partial')));
  for (const wire of left.wires) wire.cut();

  const late = await until('the cut-off host has finished the image', async () => (await filesOf()).find((name) => !known.has(name) && !name.endsWith('.partial')));
  expect((await platform.client.room(room)).image).toBeNull();
  const moved = await until('the room answers from the other host', async () => say(platform, room, 'nonce').catch(() => undefined), 240_000);
  await asked;
  await platform.client.hibernate(room);
  const after = await platform.client.room(room);
  expect(after).toMatchObject({ state: 'hibernated', resumedFrom: 'disk' });
  expect(after.incarnation).toBeGreaterThan(before.incarnation);

  for (const wire of left.wires) wire.mend();
  await untilBeating(left);
  const settled = await platform.client.room(room);
  expect({ incarnation: settled.incarnation, state: settled.state, image: settled.image }).toEqual({ incarnation: after.incarnation, state: 'hibernated', image: after.image });
  expect(await say(platform, room, 'nonce')).toMatchObject({ resumedFrom: 'memory', answer: { nonce: moved.answer.nonce } });
  const told = await imagesTold(room);
  expect(told.length).toBeGreaterThan(0);
  expect(told).not.toContain(late);
  const living = [...(await vmsIn(left.folder)), ...(await vmsIn(right.folder)), ...(await platform.status()).virtualMachines];
  expect(living.filter((vm) => vm.roomId === room)).toHaveLength(1);
});

it('ends with the test', async () => {
  for (const host of hosts) {
    host.process.kill('SIGTERM');
    await once(host.process, 'exit');
  }
});
