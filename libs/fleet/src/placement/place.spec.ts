import { seededRandom } from '@alcove/base';
import { place, type Candidate, type Need } from './place';

const need: Need = { templateId: 'tpl_a', memoryMiB: 512, storeGroup: null, engine: null };

function host(id: string, with_: Partial<Candidate> = {}): Candidate {
  const plain = { storeGroup: id, engine: 'qemu/tcg/10', templateIds: ['tpl_a'], roomsMax: 10, roomsUsed: 0, memoryMiBTotal: 8192, memoryMiBFree: 8192, diskMiBFree: 10_000, roomsOnTheWay: 0 };
  return { id, ...plain, ...with_ };
}

describe('placement', () => {
  it('spreads: the emptiest host takes the next room', () => {
    expect(place([host('a', { roomsUsed: 3 }), host('b', { roomsUsed: 1 }), host('c', { roomsUsed: 1, roomsOnTheWay: 1 })], need)).toEqual({ kind: 'host', hostId: 'b' });
  });

  it('needs the template and the store of the room', () => {
    expect(place([host('a', { templateIds: [] }), host('b')], need)).toEqual({ kind: 'host', hostId: 'b' });
    expect(place([host('a', { templateIds: [] })], need)).toMatchObject({ kind: 'problem', code: 'host.unavailable' });
    expect(place([host('a'), host('b', { roomsUsed: 9 })], { ...need, storeGroup: 'b' })).toEqual({ kind: 'host', hostId: 'b' });
    expect(place([host('a')], { ...need, storeGroup: 'b' })).toMatchObject({ kind: 'problem', code: 'host.unavailable' });
    expect(place([], need)).toMatchObject({ kind: 'problem', code: 'host.unavailable' });
  });

  it('says when every host is full', () => {
    const full = [host('a', { roomsUsed: 10 }), host('b', { memoryMiBFree: 100 }), host('c', { diskMiBFree: 1 }), host('d', { roomsUsed: 9, roomsOnTheWay: 1 })];
    expect(place(full, need)).toMatchObject({ kind: 'problem', code: 'host.capacity' });
  });

  it('prefers the engine that made the image, but takes another', () => {
    const hosts = [host('a', { engine: 'qemu/kvm/10' }), host('b', { roomsUsed: 8 })];
    expect(place(hosts, { ...need, engine: 'qemu/tcg/10' })).toEqual({ kind: 'host', hostId: 'b' });
    expect(place(hosts.slice(0, 1), { ...need, engine: 'qemu/tcg/10' })).toEqual({ kind: 'host', hostId: 'a' });
  });

  it('never overfills a host and uses them evenly, whatever the order of the snapshot', () => {
    for (let seed = 0; seed < 300; seed++) {
      const random = seededRandom(seed);
      let hosts = Array.from({ length: 1 + random.below(5) }, (_, i) => host(`h${i}`, { roomsMax: 8 }));
      const total = hosts.length * 8;
      for (let n = 0; n < total; n++) {
        const shuffled = [...hosts].sort(() => random.below(3) - 1);
        const placed = place(shuffled, need);
        expect(placed).toEqual(place(hosts, need));
        if (placed.kind !== 'host') throw new Error(`seed ${seed}: no host though there is room`);
        hosts = hosts.map((one) => (one.id === placed.hostId ? { ...one, roomsUsed: one.roomsUsed + 1 } : one));
        const used = hosts.map((one) => one.roomsUsed);
        expect(Math.max(...used) - Math.min(...used)).toBeLessThanOrEqual(1);
      }
      expect(place(hosts, need)).toMatchObject({ code: 'host.capacity' });
    }
  });
});
