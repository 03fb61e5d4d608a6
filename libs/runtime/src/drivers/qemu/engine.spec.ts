import type { TemplateManifest } from '@alcove/contracts';
import { compatibilityOf, isolationOf, type QemuEngine, readVersion, whyNotRestorable } from './engine';
import { StoreLayout } from './store-layout';
import { UserPool } from './user-pool';

const engine: QemuEngine = { qemuPath: '/usr/bin/qemu', accelerator: 'tcg', build: 'qemu 10.0.2 on x', cpuModel: 'max', tscKhz: 2_000_000 };
const template: TemplateManifest = {
  version: 1, id: `tpl_${'1'.repeat(20)}`, name: 'default', builtAt: '2026-01-01T00:00:00.000Z', cloneSafe: true, size: { memoryMiB: 512, vcpus: 1, diskMiB: 4096 }, port: 8080,
  engine: { driver: 'qemu', build: engine.build, accelerator: 'tcg', cpuModel: 'max', protocol: 1 }, files: {},
};

describe('the compatibility key', () => {
  it('depends on everything that a memory image depends on, and on nothing else', () => {
    const key = compatibilityOf(engine, template);
    expect(key).toMatch(/^[0-9a-f]{64}$/);
    const others = [
      compatibilityOf({ ...engine, build: 'qemu 10.0.3 on x' }, template),
      compatibilityOf({ ...engine, accelerator: 'kvm' }, template),
      compatibilityOf({ ...engine, cpuModel: 'host' }, template),
      compatibilityOf(engine, { ...template, size: { ...template.size, memoryMiB: 1024 } }),
      compatibilityOf(engine, { ...template, size: { ...template.size, vcpus: 2 } }),
      compatibilityOf(engine, { ...template, id: `tpl_${'2'.repeat(20)}` }),
    ];
    expect(new Set([key, ...others]).size).toBe(others.length + 1);
    expect(compatibilityOf({ ...engine, qemuPath: '/opt/qemu', tscKhz: 1 }, { ...template, name: 'renamed' })).toBe(key);
  });

  it('comes with a reason when a template does not fit', () => {
    expect(whyNotRestorable(engine, template)).toBeUndefined();
    const made = template.engine;
    for (const change of [{ driver: 'fake' }, { build: 'qemu 9' }, { accelerator: 'kvm' }, { cpuModel: 'host' }, { protocol: 2 }]) {
      expect(whyNotRestorable(engine, { ...template, engine: { ...made, ...change } })).toEqual(expect.any(String));
    }
  });

  it('is for hosts that say honestly what isolates', () => {
    expect([isolationOf('kvm'), isolationOf('tcg')]).toEqual(['hardware', 'emulated']);
  });
});

it('says what to install where QEMU is missing', async () => {
  await expect(readVersion('/nowhere/qemu-system-x86_64')).rejects.toMatchObject({ code: 'engine.missing', detail: expect.stringContaining('apt install') });
});

describe('where things are', () => {
  it('refuses ids that are not ids', () => {
    const layout = new StoreLayout('/store', '/host');
    for (const id of ['..', 'room_x', `room_${'0'.repeat(20)}/..`, '']) expect(() => layout.roomFolder(id)).toThrow(expect.objectContaining({ code: 'request.invalid' }));
    expect(() => layout.imagePath(`room_${'0'.repeat(20)}`, '../disk.json')).toThrow(expect.objectContaining({ code: 'request.invalid' }));
  });

  it('says at once that a path is too long for sockets', () => {
    expect(() => new StoreLayout('/store', `/${'x'.repeat(90)}`)).toThrow(expect.objectContaining({ code: 'engine.failed' }));
  });
});

describe('user numbers', () => {
  it('are each held by one VM', () => {
    const users = new UserPool(1000);
    users.occupy(1001);
    const taken = [users.take(), users.take()];
    expect(taken).toEqual([1000, 1002]);
    users.release(1000);
    expect(users.take()).toBe(1000);
  });

  it('are not used without a base', () => {
    const users = new UserPool(null);
    expect([users.take(), users.take()]).toEqual([null, null]);
  });
});
