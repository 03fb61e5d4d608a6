import { mkdirSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type RunningReport, SealedReport } from '@alcove/contracts';
import { HostProcess, roomName, runningOrder, sealedOrder, until } from './host-harness';
import { testTemplate, whereBuilt } from './qemu-machine';

/** The host process on real VMs: what the fake driver cannot show. */
const verbMs = 60_000;

whereBuilt('the host agent on QEMU', () => {
  const host = new HostProcess();
  const room = roomName();
  const path = (incarnation: number, rest: string) => `/rooms/${room}/incarnations/${incarnation}/${rest}`;
  const ask = async (incarnation: number, prompt: string) => (await host.call('POST', path(incarnation, 'invocations'), { prompt })).json as { nonce?: string; counter?: number };
  const qemu = { ALCOVE_DRIVER: 'qemu', ...(process.getuid?.() === 0 ? { ALCOVE_VM_UID_BASE: '920000' } : {}) };
  let templateId = '';
  let nonce = '';

  beforeAll(async () => {
    const template = testTemplate();
    templateId = template.manifest.id;
    mkdirSync(join(host.folder, 'store'), { recursive: true });
    symlinkSync(dirname(template.folder), join(host.folder, 'store/templates'));
    await host.start(qemu);
    await host.ready();
  }, 4 * verbMs);
  afterAll(async () => {
    if (host.child) await host.call('PUT', path(900, 'gone'), { operationId: 'end', reason: 'test', discard: true }).catch(() => undefined);
    await host.stop();
  }, verbMs);

  it('brings a room up and talks to its agent', async () => {
    const up = await host.call('PUT', path(1, 'running'), runningOrder({ templateId }));
    expect(up).toMatchObject({ status: 200, json: { resumedFrom: 'new', fallbacks: [] } });
    nonce = (await ask(1, 'nonce')).nonce ?? '';
    expect(nonce).not.toBe('');
    expect((await ask(1, 'count')).counter).toBe(1);
    const ran = await host.call('POST', path(1, 'exec'), { command: 'echo kept > kept; sync' });
    expect(ran.body.toString()).toContain('"exitCode":0');
    const costs = (await host.call('GET', '/state?memory=true')).json as { incarnations: object[] };
    expect(costs.incarnations).toMatchObject([{ roomId: room, guestPrivateBytes: expect.any(Number), vmmOverheadBytes: expect.any(Number) }]);
  }, 2 * verbMs);

  it('is killed, started again, and the room has not noticed', async () => {
    await host.kill('SIGKILL');
    await host.start(qemu);
    await host.ready();
    expect((await ask(1, 'count')).counter).toBe(2);
    expect((await ask(1, 'nonce')).nonce).toBe(nonce);
  }, verbMs);

  it('seals the room and wakes it with its memory', async () => {
    const sealed = await host.call('PUT', path(1, 'sealed'), sealedOrder());
    expect(sealed.status).toBe(200);
    const { image } = SealedReport.parse(sealed.json);
    const woken = await host.call('PUT', path(2, 'running'), runningOrder({ templateId, image, hasDisk: true }));
    expect(woken).toMatchObject({ status: 200, json: { resumedFrom: 'memory', fallbacks: [] } });
    expect(await ask(2, 'count')).toMatchObject({ counter: 3 });
    expect((await ask(2, 'nonce')).nonce).toBe(nonce);
  }, 2 * verbMs);

  it('says that the VM died, and boots from the disk', async () => {
    // The guest ends its own machine: nothing outside has to know its process.
    const died = host.control.heard((beat) => beat.ended.some((state) => state.roomId === room && state.incarnation === 2));
    void host.call('POST', path(2, 'exec'), { command: 'echo b > /proc/sysrq-trigger', user: 'root' }).catch(() => undefined);
    // Whichever is noticed first: the end of the guest, or of its process.
    expect((await died).ended).toMatchObject([{ phase: 'gone', reason: expect.stringMatching(/^(vmm_exited|guest_dead)$/) as string }]);
    const booted = await host.call('PUT', path(3, 'running'), runningOrder({ templateId, hasDisk: true }));
    expect((booted.json as RunningReport).resumedFrom).toBe('disk');
    await until(async () => (await ask(3, 'nonce')).nonce !== nonce);
    const file = await host.call('GET', path(3, 'files?path=kept'));
    expect(file.body.toString()).toBe('kept\n');
    expect(await host.call('PUT', path(3, 'gone'), { operationId: 'end', reason: 'test', discard: true })).toMatchObject({ status: 200, json: { wasRunning: true } });
  }, 3 * verbMs);
});
