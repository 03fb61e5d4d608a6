import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { seededRandom } from '@alcove/base';
import { CopiedReport, type ImageRef, SealedReport } from '@alcove/contracts';
import { HostProcess, roomKeys, roomName, runningOrder, sealedOrder, until } from './host-harness';
import { testTemplate, whereBuilt } from './qemu-machine';

/** Copies by the host process, on real VMs. */
const verbMs = 60_000;

whereBuilt('copies by the host agent on QEMU', () => {
  const host = new HostProcess();
  const origin = roomName();
  const copy = roomName(seededRandom(2));
  const path = (room: string, incarnation: number, rest: string) => `/rooms/${room}/incarnations/${incarnation}/${rest}`;
  const ask = async (room: string, incarnation: number, prompt: string) => (await host.call('POST', path(room, incarnation, 'invocations'), { prompt })).json as { nonce?: string; counter?: number };
  const inRoom = async (room: string, incarnation: number, command: string) => {
    const { body } = await host.call('POST', path(room, incarnation, 'exec'), { command });
    const events = body.toString().trim().split('\n').map((line) => JSON.parse(line) as { event: string; data?: string });
    return events.filter(({ event }) => event === 'stdout').map(({ data }) => Buffer.from(data ?? '', 'base64').toString()).join('');
  };
  /** Stands in for qemu-img: as long as `held` is there, a conversion says that it has begun (by its process) and goes no further. */
  const stand = { program: join(host.folder, 'qemu-img'), held: join(host.folder, 'held'), begun: join(host.folder, 'begun') };
  const settings = { ALCOVE_DRIVER: 'qemu', ALCOVE_QEMU_IMG: stand.program, ...(process.getuid?.() === 0 ? { ALCOVE_VM_UID_BASE: '940000' } : {}) };
  let templateId = '';
  let image: ImageRef;
  let nonce = '';
  const order = () => ({ operationId: 'copy', templateId, generation: 1, source: { image, keys: roomKeys }, keys: roomKeys });

  beforeAll(async () => {
    const template = testTemplate();
    templateId = template.manifest.id;
    mkdirSync(join(host.folder, 'store'), { recursive: true });
    symlinkSync(dirname(template.folder), join(host.folder, 'store/templates'));
    const lines = ['#!/bin/sh', `if [ "$1" = convert ] && [ -e ${stand.held} ]; then echo $$ > ${stand.begun}.new; mv ${stand.begun}.new ${stand.begun}; exec sleep 600; fi`, 'exec qemu-img "$@"', ''];
    writeFileSync(stand.program, lines.join('\n'), { mode: 0o755 });
    await host.start(settings);
    await host.ready();
    await host.call('PUT', path(origin, 1, 'running'), runningOrder({ templateId }));
    nonce = (await ask(origin, 1, 'nonce')).nonce ?? '';
    expect((await ask(origin, 1, 'count')).counter).toBe(1);
    await inRoom(origin, 1, 'echo at the last moment > late');
    ({ image } = SealedReport.parse((await host.call('PUT', path(origin, 1, 'sealed'), sealedOrder())).json));
  }, 4 * verbMs);
  afterAll(async () => {
    if (existsSync(stand.begun)) process.kill(Number(readFileSync(stand.begun, 'utf8')), 'SIGKILL');
    for (const room of [origin, copy]) await host.call('PUT', path(room, 900, 'gone'), { operationId: 'end', reason: 'test', discard: true }).catch(() => undefined);
    await host.stop();
  }, verbMs);

  it('are made by the same order again when the agent was killed in the middle, and nothing is left of the first attempt', async () => {
    writeFileSync(stand.held, '');
    const lost = host.call('PUT', path(copy, 1, 'copied'), order()).catch(() => null);
    await until(() => existsSync(stand.begun));
    await host.kill('SIGKILL');
    expect(await lost).toBeNull();
    rmSync(stand.held);
    await host.start(settings);
    await host.ready();
    const rooms = join(host.folder, 'store/rooms');
    expect(readdirSync(rooms)).not.toContain(copy);
    const made = await host.call('PUT', path(copy, 1, 'copied'), order());
    expect(made.status).toBe(200);
    expect(readdirSync(rooms).sort()).toEqual([copy, origin].sort());
    expect((await host.call('PUT', path(copy, 1, 'copied'), order())).json).toEqual(made.json);
    const copied = CopiedReport.parse(made.json);
    const woken = await host.call('PUT', path(copy, 2, 'running'), runningOrder({ templateId, image: copied.image, hasDisk: true, newIdentity: true }));
    expect(woken).toMatchObject({ status: 200, json: { resumedFrom: 'memory', fallbacks: [] } });
    expect((await ask(copy, 2, 'nonce')).nonce).toBe(nonce);
    expect((await ask(copy, 2, 'count')).counter).toBe(2);
  }, 4 * verbMs);

  it('live beside their source, which can be started without its memory and has its newest files', async () => {
    const booted = await host.call('PUT', path(origin, 2, 'running'), runningOrder({ templateId, image: null, hasDisk: true }));
    expect(booted).toMatchObject({ status: 200, json: { resumedFrom: 'disk', fallbacks: [] } });
    expect(await inRoom(origin, 2, 'cat late')).toBe('at the last moment\n');
    const names = 'cat /proc/sys/kernel/random/boot_id /etc/machine-id /etc/hostname';
    const [theirs, ours] = [await inRoom(origin, 2, names), await inRoom(copy, 2, names)].map((text) => text.trim().split('\n'));
    expect(new Set([...(theirs ?? []), ...(ours ?? [])]).size).toBe(6);
  }, 4 * verbMs);
});
