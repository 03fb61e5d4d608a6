import { newId } from '@alcove/base';
import type { HostRecord, HostsStore } from '@alcove/fleet';

export function contractHost(id: string, with_: Partial<HostRecord> = {}): HostRecord {
  const size = { memoryMiB: 512, vcpus: 1, diskMiB: 4096 };
  const template = { id: `tpl_${id}`, name: `name-${id}`, builtAt: '2030-01-01T00:00:00.000Z', cloneSafe: true, size };
  return {
    id,
    description: { url: 'https://127.0.0.1:1', driver: 'fake', isolation: 'software', accelerator: 'none', engineBuild: '1', templates: [template] },
    capacity: { roomsMax: 9, roomsUsed: 1, memoryMiBTotal: 100, memoryMiBFree: 50, diskMiBFree: 10 },
    bootId: 'boot-1',
    sequence: 1,
    beats: 0,
    beatAt: Date.UTC(2030, 0, 1),
    lost: false,
    ...with_,
  };
}

/** The one suite that every HostsStore passes. */
export function describeHostsStore(name: string, open: () => Promise<{ store: HostsStore; close: () => Promise<void> }>): void {
  describe(`HostsStore (${name})`, () => {
    let store: HostsStore;
    let close: () => Promise<void>;
    let id: string;
    beforeAll(async () => {
      ({ store, close } = await open());
    });
    beforeEach(() => {
      id = newId('host');
    });
    afterAll(() => close());

    it('writes beats in order and counts them', async () => {
      expect(await store.find(id)).toBeNull();
      expect(await store.beat(contractHost(id), false)).toBe('taken');
      expect(await store.beat(contractHost(id), false)).toBe('overtaken');
      expect(await store.beat(contractHost(id, { sequence: 5, capacity: { ...contractHost(id).capacity, roomsUsed: 4 } }), false)).toBe('taken');
      expect(await store.beat(contractHost(id, { sequence: 4 }), false)).toBe('overtaken');
      expect(await store.find(id)).toMatchObject({ sequence: 5, beats: 2, lost: false, capacity: { roomsUsed: 4 } });
      expect(await store.beat(contractHost(id, { bootId: 'boot-2', sequence: 1 }), false)).toBe('taken');
      expect((await store.all()).find((host) => host.id === id)).toEqual({ ...contractHost(id), bootId: 'boot-2', beats: 3 });
    });

    it('loses a host only if it has not beaten since, and takes it back only on purpose', async () => {
      await store.beat(contractHost(id), false);
      await store.beat(contractHost(id, { sequence: 2 }), false);
      expect(await store.markLost(id, 1)).toBe(false);
      expect(await store.markLost(id, 2)).toBe(true);
      expect(await store.beat(contractHost(id, { sequence: 3 }), false)).toBe('lost');
      expect(await store.find(id)).toMatchObject({ lost: true, sequence: 2 });
      expect(await store.beat(contractHost(id, { sequence: 2 }), true)).toBe('overtaken');
      expect(await store.beat(contractHost(id, { sequence: 3 }), true)).toBe('taken');
      expect(await store.find(id)).toMatchObject({ lost: false, sequence: 3, beats: 3 });
    });

    it('remembers every template it ever heard of, the newest of a name first', async () => {
      const older = contractHost(id);
      const [template] = older.description.templates;
      if (!template) throw new Error('no template');
      const newer = { ...template, id: `${template.id}b`, builtAt: '2030-01-02T00:00:00.000Z' };
      await store.beat(older, false);
      await store.beat(contractHost(id, { sequence: 2, description: { ...older.description, templates: [newer] } }), false);
      expect(await store.newestTemplate(template.name)).toEqual({ ...newer, builtAt: Date.parse(newer.builtAt) });
      await store.beat(contractHost(id, { sequence: 3, description: { ...older.description, templates: [] } }), false);
      expect((await store.newestTemplate(template.name))?.id).toBe(newer.id);
      expect(await store.newestTemplate('nobody-has-this')).toBeNull();
    });
  });
}
