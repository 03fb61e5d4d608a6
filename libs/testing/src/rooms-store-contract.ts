import { isProblem, type ImageRef } from '@alcove/contracts';
import { absentRoom, change, type IncarnationReport, type LifecycleEvent, type NewRoom, type RoomLimit, type RoomQuery, type RoomRecord, type RoomSave, type RoomsStore } from '@alcove/rooms';
import { newId, newUuid } from '@alcove/base';

/** A store to be held to the contract, and what its tables need beside it. */
export interface RoomsStoreUnderTest<Scope> {
  readonly store: RoomsStore<Scope>;
  /** A tenant with the right to rooms. */
  newTenant(): Promise<string>;
  /** Makes the user and keeps others of it out. */
  admit(scope: Scope, tenantId: string, userId: string): Promise<void>;
  /** Writes something in the scope of a save, to see whether it is kept. */
  mark(scope: Scope, tenantId: string, name: string): Promise<void>;
  marked(tenantId: string, name: string): Promise<boolean>;
  close(): Promise<void>;
}

const now = Date.UTC(2030, 0, 1);
const nothing = async (): Promise<void> => undefined;

export function contractRoom(tenantId: string, userId = 'ada', metadata: Record<string, string> = {}, also: Partial<NewRoom> = {}): RoomRecord {
  const size = { memoryMiB: 512, vcpus: 1, diskMiB: 4096 };
  return absentRoom({ id: newId('room'), tenantId, userId, template: 'default', templateId: 'tpl_1', size, metadata, envNames: ['A'], envSealed: 'c2VhbGVk', ...also }, now);
}

function imageOf(room: RoomRecord): ImageRef {
  return { id: newId('img'), roomId: room.id, incarnation: room.incarnation, generation: room.move, templateId: 'tpl_1', compatibility: 'c', diskState: 'd', bytes: 7, pages: 2, sha256: 'a'.repeat(64) };
}

/** The save that an event makes of a row, as the mover builds it. */
export function saveOf(room: RoomRecord, event: LifecycleEvent, options: { hostId?: string; reports?: IncarnationReport[]; at?: number } = {}): RoomSave {
  const { hostId = 'host-a', reports = [], at = now } = options;
  const made = change(room, event, { now: at, host: { id: hostId, storeGroup: 'g' } });
  if (!made.next) throw new Error(`${event.kind} in ${room.state} changes nothing`);
  const opens = made.next.incarnation > room.incarnation ? { incarnation: made.next.incarnation, hostId } : null;
  return { next: made.next, news: made.news, opens, reports };
}

const wake: LifecycleEvent = { kind: 'wake', reason: 'asked' };
const sleep: LifecycleEvent = { kind: 'sleep', reason: 'asked' };
const up = (room: RoomRecord): LifecycleEvent => ({ kind: 'up', incarnation: room.incarnation, reason: 'started', start: { resumedFrom: 'new', isolation: 'software', fallbacks: [], detail: {} } });
const sealed = (room: RoomRecord): LifecycleEvent => ({ kind: 'sealed', incarnation: room.incarnation, image: imageOf(room), engine: 'fake/none/1', detail: { stallMs: 1 } });
const gone = (room: RoomRecord): LifecycleEvent => ({ kind: 'gone', incarnation: room.incarnation, reason: 'vmm_exited' });
const report = (incarnation: number, phase: IncarnationReport['phase'], sequence: number | null): IncarnationReport => ({ incarnation, phase, sequence, reason: null });

/** The one suite that every RoomsStore passes. */
export function describeRoomsStore<Scope>(name: string, open: () => Promise<RoomsStoreUnderTest<Scope>>): void {
  describe(`RoomsStore (${name})`, () => {
    let rig: RoomsStoreUnderTest<Scope>;
    let tenantId: string;
    beforeAll(async () => {
      rig = await open();
    });
    beforeEach(async () => {
      tenantId = await rig.newTenant();
    });
    afterAll(() => rig.close());

    const create = async (room: RoomRecord, limit: RoomLimit = { roomsPerUser: 100 }): Promise<RoomRecord> => {
      const save = saveOf(room, wake);
      await rig.store.create(save, async (scope) => (await rig.admit(scope, room.tenantId, room.userId), limit), nothing);
      return save.next;
    };
    const step = async (room: RoomRecord, event: LifecycleEvent, reports: IncarnationReport[] = []): Promise<RoomRecord> => {
      const save = saveOf(room, event, { reports });
      expect(await rig.store.save(save, nothing)).toBe(true);
      return save.next;
    };

    it('gives back what was saved, field by field', async () => {
      const made = await create(contractRoom(tenantId, 'ada', { team: 'red' }));
      expect((await rig.store.find(tenantId, made.id))?.room).toEqual(made);
      const running = await step(made, up(made), [report(1, 'running', 5)]);
      const hibernating = await step(running, sleep);
      const asleep = await step(hibernating, sealed(hibernating), [report(1, 'sealed', 6)]);
      expect((await rig.store.find(tenantId, made.id))?.room).toEqual(asleep);
      const failed = await step(await step(asleep, wake), gone({ ...asleep, incarnation: 2 }), [report(2, 'gone', null)]);
      expect((await rig.store.find(tenantId, made.id))?.room).toEqual(failed);
      const located = await rig.store.locate(made.id);
      expect(located?.room).toEqual(failed);
      expect(located?.open.map(({ incarnation }) => incarnation)).toEqual([1]);
      expect(located?.newest).toMatchObject({ incarnation: 2, hostId: 'host-a', closedAt: expect.any(Number) });
    });

    it('gives back policies, copies and snapshots field by field', async () => {
      const lifecycle = { timeoutMs: 5_000, onTimeout: 'pause', keepMemory: false, autoResume: false } as const;
      const network = { allowPublicTraffic: false, maskRequestHost: 'a.test:${PORT}', allowInternetAccess: false, allowOut: ['a.test'], denyOut: ['0.0.0.0/0'], rules: { 'a.test': [{ transform: { headers: { a: 'b' } } }] }, egressProxy: null };
      const source = await create(contractRoom(tenantId, 'ada', {}, { kind: 'sandbox', lifecycle, network }));
      const running = await step(source, up(source));
      expect(running.endsAt).toBe(now + 5_000);
      const held = { ...running, holders: [newId('room')], generation: running.generation + 1 };
      expect(await rig.store.save({ next: held, news: [], opens: null, reports: [] }, nothing)).toBe(true);
      const resting = await step(held, { kind: 'sleep', reason: 'snapshot', keepMemory: false });
      expect((await rig.store.find(tenantId, source.id))?.room).toEqual(resting);
      const origin = { roomId: source.id, fresh: true };
      const frozen = saveOf(contractRoom(tenantId, 'ada', {}, { kind: 'snapshot', origin, storeGroup: 'g', snapshotName: 'n' }), { kind: 'copy', reason: 'asked' });
      await rig.store.create(frozen, async (scope) => (await rig.admit(scope, tenantId, 'ada'), { roomsPerUser: 0 }), nothing);
      expect((await rig.store.find(tenantId, frozen.next.id))?.room).toEqual(frozen.next);
      const copied = await step(frozen.next, sealed(frozen.next), [report(1, 'sealed', 1)]);
      const doomed = await step(copied, { kind: 'destroy', reason: 'asked' });
      expect((await rig.store.find(tenantId, doomed.id))?.room).toEqual(doomed);
      expect(doomed.ending).toEqual({ reason: 'asked', at: now });
    });

    it('refuses a save whose row has changed, and keeps nothing of it', async () => {
      const made = await create(contractRoom(tenantId));
      const first = saveOf(made, up(made));
      const second = saveOf(made, gone(made));
      expect(await rig.store.save(first, (scope) => rig.mark(scope, tenantId, 'first'))).toBe(true);
      expect(await rig.store.save(second, (scope) => rig.mark(scope, tenantId, 'second'))).toBe(false);
      expect(await rig.store.save({ ...first, next: { ...first.next, id: newId('room') } }, nothing)).toBe(false);
      expect((await rig.store.find(tenantId, made.id))?.room.state).toBe('running');
      expect(await rig.marked(tenantId, 'first')).toBe(true);
      expect(await rig.marked(tenantId, 'second')).toBe(false);
      expect((await rig.store.events(tenantId, made.id, 0, 10)).map((event) => event.to)).toEqual(['provisioning', 'running']);
    });

    it('lets one of many that come at once through', async () => {
      const made = await create(contractRoom(tenantId));
      const tries = await Promise.all(Array.from({ length: 8 }, () => rig.store.save(saveOf(made, up(made)), nothing)));
      expect(tries.filter(Boolean)).toHaveLength(1);
    });

    it('keeps all or nothing when what comes along fails', async () => {
      const made = await create(contractRoom(tenantId));
      const failing = async (scope: Scope): Promise<void> => {
        await rig.mark(scope, tenantId, 'half');
        throw new Error('scripted');
      };
      await expect(rig.store.save(saveOf(made, up(made)), failing)).rejects.toThrow('scripted');
      expect((await rig.store.find(tenantId, made.id))?.room).toEqual(made);
      expect(await rig.marked(tenantId, 'half')).toBe(false);
      const never = contractRoom(tenantId);
      await expect(rig.store.create(saveOf(never, wake), async (scope) => (await rig.admit(scope, tenantId, never.userId), { roomsPerUser: 9 }), failing)).rejects.toThrow('scripted');
      expect(await rig.store.find(tenantId, never.id)).toBeNull();
    });

    it("counts a user's rooms, but for those that shall go", async () => {
      const only = await create(contractRoom(tenantId), { roomsPerUser: 1 });
      await expect(create(contractRoom(tenantId), { roomsPerUser: 1 })).rejects.toMatchObject({ code: 'room.limit', detail: 'this user has 1 of 1 rooms: destroy one, or let the operator raise roomsPerUser of the tenant' });
      await create(contractRoom(tenantId, 'bob'), { roomsPerUser: 1 });
      await step(only, { kind: 'destroy', reason: 'asked' });
      const tries = await Promise.all(Array.from({ length: 4 }, () => create(contractRoom(tenantId), { roomsPerUser: 1 }).catch((error: unknown) => error)));
      expect(tries.filter((one) => isProblem(one, 'room.limit'))).toHaveLength(3);
    });

    it('counts each kind of room for itself', async () => {
      const limit = { roomsPerUser: 1, sandboxesPerUser: 2, snapshotsPerUser: 1 };
      const copy = { kind: 'snapshot', origin: { roomId: newId('room'), fresh: true }, storeGroup: 'g' } as const;
      const freeze = async (): Promise<void> => {
        const save = saveOf(contractRoom(tenantId, 'ada', {}, copy), { kind: 'copy', reason: 'asked' });
        await rig.store.create(save, async (scope) => (await rig.admit(scope, tenantId, 'ada'), limit), nothing);
      };
      await create(contractRoom(tenantId), limit);
      for (let i = 0; i < 2; i++) await create(contractRoom(tenantId, 'ada', {}, { kind: 'sandbox' }), limit);
      await freeze();
      await expect(create(contractRoom(tenantId), limit)).rejects.toMatchObject({ code: 'room.limit' });
      await expect(create(contractRoom(tenantId, 'ada', {}, { kind: 'sandbox' }), limit)).rejects.toMatchObject({ code: 'room.limit' });
      await expect(freeze()).rejects.toMatchObject({ code: 'room.limit' });
    });

    it('lists the newest first, from a time on, by template and kind; copies by what they are of', async () => {
      const rooms: RoomRecord[] = [];
      const source = newId('room');
      const kinds = ['room', 'sandbox', 'snapshot', 'snapshot', 'sandbox'] as const;
      for (const [i, kind] of kinds.entries()) {
        const also = { kind, templateId: i < 2 ? 'tpl_a' : 'tpl_b', ...(kind === 'snapshot' && { origin: { roomId: i === 2 ? source : newId('room'), fresh: true }, storeGroup: 'g', snapshotName: `s${i}` }) };
        const save = saveOf({ ...contractRoom(tenantId, 'ada', {}, also), createdAt: now + i }, kind === 'snapshot' ? { kind: 'copy', reason: 'asked' } : wake);
        await rig.store.create(save, async (scope) => (await rig.admit(scope, tenantId, 'ada'), { roomsPerUser: 9 }), nothing);
        rooms.push(save.next);
      }
      const found = async (query: Omit<RoomQuery, 'limit'>, limit = 9): Promise<number[]> => (await rig.store.list(tenantId, { ...query, limit })).map((room) => rooms.findIndex(({ id }) => id === room.id));
      expect(await found({})).toEqual([0, 1, 4]);
      expect(await found({ newestFirst: true })).toEqual([4, 1, 0]);
      expect(await found({ newestFirst: true, after: { createdAt: now + 4, id: rooms[4]?.id ?? '' } }, 1)).toEqual([1]);
      expect(await found({ createdFrom: now + 1 })).toEqual([1, 4]);
      expect(await found({ template: 'tpl_a' })).toEqual([0, 1]);
      expect(await found({ template: 'default', kinds: ['sandbox'] })).toEqual([1, 4]);
      expect(await found({ kinds: ['snapshot'], newestFirst: true })).toEqual([3, 2]);
      expect(await found({ kinds: ['snapshot'], originId: source })).toEqual([2]);
      expect(await found({ kinds: ['snapshot'], snapshotName: 's3' })).toEqual([3]);
      expect(await found({ states: ['provisioning', 'running'], kinds: ['room', 'snapshot'] })).toEqual([0, 2, 3]);
      expect(await found({ states: ['running'] })).toEqual([]);
    });

    it('finds rooms whose time is over, the longest over first, and those that are held', async () => {
      const of = (list: readonly RoomRecord[]): string[] => list.filter((room) => room.tenantId === tenantId).map((room) => room.id);
      const lifecycle = (timeoutMs: number): NewRoom['lifecycle'] => ({ timeoutMs, onTimeout: 'kill', keepMemory: true, autoResume: false });
      const late = await create(contractRoom(tenantId, 'ada', {}, { kind: 'sandbox', lifecycle: lifecycle(2_000) }));
      const soon = await create(contractRoom(tenantId, 'ada', {}, { kind: 'sandbox', lifecycle: lifecycle(1_000) }));
      await create(contractRoom(tenantId));
      expect(of(await rig.store.expired(now + 1e9, 200))).toEqual([]);
      const [lateUp, soonUp] = [await step(late, up(late)), await step(soon, up(soon))];
      expect(of(await rig.store.expired(now + 999, 200))).toEqual([]);
      expect(of(await rig.store.expired(now + 1_000, 200))).toEqual([soon.id]);
      expect(of(await rig.store.expired(now + 2_000, 200))).toEqual([soon.id, late.id]);
      await step(soonUp, gone(soonUp));
      await step(lateUp, sleep);
      expect(of(await rig.store.expired(now + 1e9, 200))).toEqual([soon.id]);
      const made = await create(contractRoom(tenantId));
      const running = await step(made, up(made));
      expect(of(await rig.store.wishing(200))).toEqual([]);
      const held = { ...running, holders: [newId('room')], generation: running.generation + 1 };
      await rig.store.save({ next: held, news: [], opens: null, reports: [] }, nothing);
      expect(of(await rig.store.held(200))).toEqual([made.id]);
      expect(of(await rig.store.wishing(200))).toEqual([made.id]);
    });

    it('finds rooms that are on hold, and those of a tenant that are not yet', async () => {
      const of = (list: readonly RoomRecord[]): string[] => list.filter((room) => room.tenantId === tenantId).map((room) => room.id);
      const made = await create(contractRoom(tenantId));
      const running = await step(made, up(made));
      expect([of(await rig.store.onHold(200)), of(await rig.store.offHold([tenantId], 200)), of(await rig.store.offHold([await rig.newTenant()], 200))]).toEqual([[], [made.id], []]);
      const next: RoomRecord = { ...running, hold: 'key_unavailable', generation: running.generation + 1 };
      await rig.store.save({ next, news: [], opens: null, reports: [] }, nothing);
      expect([of(await rig.store.onHold(200)), of(await rig.store.offHold([tenantId], 200)), of(await rig.store.wishing(200))]).toEqual([[made.id], [], [made.id]]);
      expect((await rig.store.find(tenantId, made.id))?.room.hold).toBe('key_unavailable');
    });

    it("hides a tenant's rooms from others", async () => {
      const made = await create(contractRoom(tenantId));
      const other = await rig.newTenant();
      expect(await rig.store.find(other, made.id)).toBeNull();
      expect(await rig.store.events(other, made.id, 0, 10)).toEqual([]);
      expect(await rig.store.list(other, { limit: 10 })).toEqual([]);
      expect(await rig.store.save({ ...saveOf(made, up(made)), next: { ...saveOf(made, up(made)).next, tenantId: other } }, nothing)).toBe(false);
    });

    it('lists by age, user, state and metadata, page by page', async () => {
      const rooms: RoomRecord[] = [];
      for (let i = 0; i < 5; i++) rooms.push(await create({ ...contractRoom(tenantId, i % 2 ? 'ada' : 'bob', { team: i < 3 ? 'red' : 'blue', n: String(i) }), createdAt: now + i }));
      const ids = (of: readonly RoomRecord[]): string[] => of.map((room) => room.id);
      expect(ids(await rig.store.list(tenantId, { limit: 9 }))).toEqual(ids(rooms));
      expect(ids(await rig.store.list(tenantId, { limit: 9, userId: 'ada' }))).toEqual(ids(rooms.filter((room) => room.userId === 'ada')));
      expect(ids(await rig.store.list(tenantId, { limit: 9, metadata: { team: 'red', n: '1' } }))).toEqual(ids(rooms.slice(1, 2)));
      expect(ids(await rig.store.list(tenantId, { limit: 2, after: { createdAt: now + 1, id: rooms[1]?.id ?? '' } }))).toEqual(ids(rooms.slice(2, 4)));
      const running = await step(rooms[4] as RoomRecord, up(rooms[4] as RoomRecord));
      expect(ids(await rig.store.list(tenantId, { limit: 9, states: ['running'] }))).toEqual([running.id]);
      const doomed = await step(running, { kind: 'destroy', reason: 'asked' });
      await step(doomed, { kind: 'discarded', incarnation: 1, move: doomed.move });
      expect(await rig.store.list(tenantId, { limit: 9 })).toHaveLength(4);
      expect(ids(await rig.store.list(tenantId, { limit: 9, states: ['destroyed'] }))).toEqual([running.id]);
    });

    it('numbers events without gaps and reads on from any', async () => {
      const made = await create(contractRoom(tenantId));
      const running = await step(made, up(made));
      const hibernating = await step(running, sleep);
      await step(hibernating, sealed(hibernating));
      const all = await rig.store.events(tenantId, made.id, 0, 10);
      expect(all.map((event) => Number(event.id))).toEqual([1, 2, 3, 4, 5]);
      expect(all.map((event) => event.type)).toEqual(['state', 'state', 'state', 'image', 'state']);
      expect(await rig.store.events(tenantId, made.id, 2, 2)).toEqual(all.slice(2, 4));
      expect(await rig.store.events(tenantId, made.id, 2 ** 40, 2)).toEqual([]);
    });

    it('keeps incarnations open until they are reported gone, by the newest report', async () => {
      const hostId = newId('host');
      const save = saveOf(contractRoom(tenantId), wake, { hostId });
      await rig.store.create(save, async (scope) => (await rig.admit(scope, tenantId, 'ada'), { roomsPerUser: 9 }), nothing);
      const key = { tenantId, roomId: save.next.id };
      expect((await rig.store.openOn(hostId)).map(({ incarnation }) => [incarnation.incarnation, incarnation.phase, incarnation.hostId])).toEqual([[1, 'starting', hostId]]);
      await rig.store.report(key, report(1, 'running', 10), now);
      await rig.store.report(key, report(1, 'gone', 9), now);
      expect((await rig.store.find(tenantId, key.roomId))?.open).toMatchObject([{ incarnation: 1, phase: 'running', sequence: 10, closedAt: null }]);
      await rig.store.report(key, report(1, 'gone', null), now);
      expect(await rig.store.openOn(hostId)).toEqual([]);
      await rig.store.report(key, report(1, 'running', 11), now);
      expect((await rig.store.find(tenantId, key.roomId))?.open).toEqual([]);
    });

    it('finds what reconcilers look for', async () => {
      const of = (list: readonly RoomRecord[]): string[] => list.filter((room) => room.tenantId === tenantId).map((room) => room.id);
      const made = await create(contractRoom(tenantId));
      expect(of(await rig.store.overdue(made.deadlineAt ?? 0, 200))).toEqual([made.id]);
      expect(of(await rig.store.overdue((made.deadlineAt ?? 0) - 1, 200))).toEqual([]);
      const asked = await step(made, sleep);
      expect(of(await rig.store.wishing(200))).toEqual([]);
      const running = await step(asked, up(asked));
      expect(of(await rig.store.wishing(200))).toEqual([made.id]);
      const hibernating = await step(running, sleep);
      const kept = await step(hibernating, wake);
      const asleep = await step(kept, sealed(kept), [report(1, 'sealed', 3)]);
      expect(of(await rig.store.wishing(200))).toEqual([made.id]);
      expect((await rig.store.orphans(200)).filter(({ room }) => room.id === made.id).map(({ incarnation }) => incarnation.incarnation)).toEqual([1]);
      const resuming = await step(asleep, wake);
      expect((await rig.store.find(tenantId, made.id))?.open.map(({ incarnation }) => incarnation)).toEqual([1, 2]);
      await rig.store.report({ tenantId, roomId: made.id }, report(1, 'gone', 4), now);
      expect((await rig.store.orphans(200)).filter(({ room }) => room.id === made.id)).toEqual([]);
      const back = await step(resuming, up(resuming));
      const doomed = await step(back, { kind: 'destroy', reason: 'asked' });
      expect(of(await rig.store.wishing(200))).toEqual([]);
      const stuck = await step(doomed, { kind: 'moveFailed', incarnation: 2, move: doomed.move, code: 'host.unavailable', detail: null });
      expect(of(await rig.store.wishing(200))).toEqual([stuck.id]);
    });
  });
}

/** A tenant's id for stores that have no tenants. */
export const freeTenant = async (): Promise<string> => newUuid();
