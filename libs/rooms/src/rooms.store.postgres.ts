import type { RoomEvent } from '@alcove/contracts';
import { type Db, type SqlTx, type SystemReason } from '@alcove/db';
import type { RoomRecord } from './room';
import { fromIncarnationRow, fromRoomRow, type IncarnationRow, type RoomRow, toRoomRow } from './room-row';
import { noticeOf } from './room-watchers';
import { limitOf, limitReached, RoomsStore, shownKinds, type IncarnationRecord, type IncarnationReport, type LocatedRoom, type RoomKey, type RoomLimit, type RoomQuery, type RoomSave, type RoomWithIncarnations } from './rooms.store';

/** On which `NOTIFY` channel a save is told; heard after the commit only. */
export const roomChannel = 'alcove_room';

interface Joined {
  room: RoomRow;
  open: IncarnationRow[];
}

/**
 * The tables room, incarnation and room_event. A row travels as JSON in both directions (`to_jsonb`, `jsonb_populate_record`), so that a save is one
 * statement whatever it holds: a wake waits for every round trip.
 */
export class PostgresRoomsStore extends RoomsStore<SqlTx> {
  readonly #db: Db;

  constructor(db: Db) {
    super();
    this.#db = db;
  }

  override find(tenantId: string, roomId: string): Promise<RoomWithIncarnations | null> {
    return this.#db.withTenantSql(tenantId, (tx) => readJoined(tx, roomId, tenantId));
  }

  override locate(roomId: string, reason: SystemReason = 'host-report'): Promise<LocatedRoom | null> {
    return this.#db.asSystemSql(reason, async (tx) => {
      const found = await readJoined(tx, roomId, null);
      if (!found) return null;
      const newest = found.open.find(({ incarnation }) => incarnation === found.room.incarnation);
      return { ...found, newest: newest ?? (await readIncarnation(tx, roomId, found.room.incarnation)) };
    });
  }

  override async list(tenantId: string, query: RoomQuery): Promise<RoomRecord[]> {
    const { userId = null, states = null, template = null, originId = null, snapshotName = null, metadata, createdFrom, after, newestFirst = false, limit } = query;
    const kinds = [...(query.kinds ?? shownKinds)];
    const pairs = metadata ? JSON.stringify(metadata) : null;
    const from = createdFrom === undefined ? null : new Date(createdFrom);
    const [since, id] = after ? [new Date(after.createdAt), after.id] : [null, null];
    const rows = await this.#db.withTenantSql(tenantId, async (tx) => {
      // Two statements, because the order decides which way the index is read.
      if (newestFirst) {
        return tx.$queryRaw<{ room: RoomRow }[]>`
          select to_jsonb(r) as room from room r
          where r.tenant_id = ${tenantId}::uuid and r.kind = any(${kinds}::text[])
            and (${userId}::text is null or r.user_id = ${userId})
            and (case when ${states}::text[] is null then r.state <> 'destroyed' else r.state = any(${states}::text[]) end)
            and (${template}::text is null or r.template = ${template} or r.template_id = ${template})
            and (${originId}::text is null or r.origin->>'roomId' = ${originId}) and (${snapshotName}::text is null or r.snapshot_name = ${snapshotName})
            and (${pairs}::text is null or r.metadata @> ${pairs}::jsonb) and (${from}::timestamptz is null or r.created_at >= ${from}::timestamptz)
            and (${since}::timestamptz is null or (r.created_at, r.id) < (${since}::timestamptz, ${id}))
          order by r.created_at desc, r.id desc limit ${limit}`;
      }
      return tx.$queryRaw<{ room: RoomRow }[]>`
        select to_jsonb(r) as room from room r
        where r.tenant_id = ${tenantId}::uuid and r.kind = any(${kinds}::text[])
          and (${userId}::text is null or r.user_id = ${userId})
          and (case when ${states}::text[] is null then r.state <> 'destroyed' else r.state = any(${states}::text[]) end)
          and (${template}::text is null or r.template = ${template} or r.template_id = ${template})
          and (${originId}::text is null or r.origin->>'roomId' = ${originId}) and (${snapshotName}::text is null or r.snapshot_name = ${snapshotName})
          and (${pairs}::text is null or r.metadata @> ${pairs}::jsonb) and (${from}::timestamptz is null or r.created_at >= ${from}::timestamptz)
          and (${since}::timestamptz is null or (r.created_at, r.id) > (${since}::timestamptz, ${id}))
        order by r.created_at, r.id limit ${limit}`;
    });
    return rows.map(({ room }) => fromRoomRow(room));
  }

  override async create(save: RoomSave, admit: (scope: SqlTx) => Promise<RoomLimit>, also: (scope: SqlTx) => Promise<unknown>): Promise<void> {
    const { tenantId, userId, kind } = save.next;
    await this.#db.withTenantSql(tenantId, async (tx) => {
      const allowed = limitOf(kind, await admit(tx));
      const counted = await tx.$queryRaw<{ rooms: number }[]>`
        select count(*)::int as rooms from room where tenant_id = ${tenantId}::uuid and user_id = ${userId} and kind = ${kind} and state <> 'destroyed' and wanted <> 'gone'`;
      if ((counted[0]?.rooms ?? 0) >= allowed) throw limitReached(kind, allowed);
      // As the row before the first one, so that the first save is like every other.
      const before = { ...toRoomRow(save.next), generation: save.next.generation - 1 };
      await tx.$executeRaw`insert into room select * from jsonb_populate_record(null::room, ${JSON.stringify(before)}::jsonb)`;
      await writeRoom(tx, save);
      await also(tx);
    });
  }

  override save(save: RoomSave, also: (scope: SqlTx) => Promise<unknown>): Promise<boolean> {
    return this.#db.withTenantSql(save.next.tenantId, async (tx) => {
      if (!(await writeRoom(tx, save))) return false;
      await also(tx);
      return true;
    });
  }

  override async report(key: RoomKey, report: IncarnationReport, now: number): Promise<void> {
    await this.#db.asSystemSql('host-report', (tx) => writeReport(tx, key.roomId, report, now));
  }

  override async events(tenantId: string, roomId: string, after: number, limit: number, from = 0): Promise<RoomEvent[]> {
    const rows = await this.#db.withTenantSql(
      tenantId,
      async (tx) => tx.$queryRaw<{ event: RoomEvent }[]>`
        select event from room_event where tenant_id = ${tenantId}::uuid and room_id = ${roomId} and number > ${clampInt(after)}
          and (event->>'at')::timestamptz >= ${new Date(from)}::timestamptz order by number limit ${limit}`,
    );
    return rows.map(({ event }) => event);
  }

  override openOn(hostId: string): Promise<{ room: RoomRecord; incarnation: IncarnationRecord }[]> {
    return this.#pairs('host-report', async (tx) => tx.$queryRaw<{ room: RoomRow; incarnation: IncarnationRow }[]>`
      select to_jsonb(r) as room, to_jsonb(i) as incarnation from incarnation i join room r on r.id = i.room_id
      where i.host_id = ${hostId} and i.closed_at is null order by i.room_id, i.incarnation`);
  }

  override orphans(limit: number): Promise<{ room: RoomRecord; incarnation: IncarnationRecord }[]> {
    return this.#pairs('reconcile', async (tx) => tx.$queryRaw<{ room: RoomRow; incarnation: IncarnationRow }[]>`
      select to_jsonb(r) as room, to_jsonb(i) as incarnation from incarnation i join room r on r.id = i.room_id
      where i.closed_at is null
        and (i.incarnation <> r.incarnation or r.state not in ('provisioning', 'running', 'hibernating', 'resuming', 'destroying'))
      order by i.opened_at, i.room_id limit ${limit}`);
  }

  override wishing(limit: number): Promise<RoomRecord[]> {
    return this.#rooms(async (tx) => tx.$queryRaw<{ room: RoomRow }[]>`
      select to_jsonb(r) as room from room r
      where deadline_at is null and state <> 'destroyed' and (wanted = 'gone' or (state = 'running' and (wanted = 'asleep' or cardinality(holders) > 0 or hold is not null)) or (wake_pending and state <> 'running' and hold is null))
      order by created_at, id limit ${limit}`);
  }

  override overdue(now: number, limit: number): Promise<RoomRecord[]> {
    return this.#rooms(async (tx) => tx.$queryRaw<{ room: RoomRow }[]>`
      select to_jsonb(r) as room from room r where deadline_at is not null and deadline_at <= ${new Date(now)} order by deadline_at limit ${limit}`);
  }

  override expired(now: number, limit: number): Promise<RoomRecord[]> {
    return this.#rooms(async (tx) => tx.$queryRaw<{ room: RoomRow }[]>`
      select to_jsonb(r) as room from room r
      where ends_at is not null and ends_at <= ${new Date(now)} and state in ('running', 'failed') order by ends_at, created_at, id limit ${limit}`);
  }

  override held(limit: number): Promise<RoomRecord[]> {
    return this.#rooms(async (tx) => tx.$queryRaw<{ room: RoomRow }[]>`
      select to_jsonb(r) as room from room r where cardinality(holders) > 0 order by created_at, id limit ${limit}`);
  }

  override onHold(limit: number): Promise<RoomRecord[]> {
    return this.#rooms(async (tx) => tx.$queryRaw<{ room: RoomRow }[]>`select to_jsonb(r) as room from room r where hold is not null order by tenant_id, id limit ${limit}`);
  }

  override offHold(tenantIds: readonly string[], limit: number): Promise<RoomRecord[]> {
    return this.#rooms(async (tx) => tx.$queryRaw<{ room: RoomRow }[]>`
      select to_jsonb(r) as room from room r where hold is null and state <> 'destroyed' and tenant_id = any(${tenantIds}::uuid[]) order by tenant_id, id limit ${limit}`);
  }

  async #rooms(read: (tx: SqlTx) => Promise<{ room: RoomRow }[]>): Promise<RoomRecord[]> {
    return (await this.#db.asSystemSql('reconcile', read)).map(({ room }) => fromRoomRow(room));
  }

  async #pairs(reason: SystemReason, read: (tx: SqlTx) => Promise<{ room: RoomRow; incarnation: IncarnationRow }[]>): Promise<{ room: RoomRecord; incarnation: IncarnationRecord }[]> {
    return (await this.#db.asSystemSql(reason, read)).map(({ room, incarnation }) => ({ room: fromRoomRow(room), incarnation: fromIncarnationRow(incarnation) }));
  }
}

async function readJoined(tx: SqlTx, roomId: string, tenantId: string | null): Promise<RoomWithIncarnations | null> {
  const rows = await tx.$queryRaw<Joined[]>`
    select to_jsonb(r) as room,
      (select coalesce(jsonb_agg(to_jsonb(i) order by i.incarnation), '[]') from incarnation i where i.room_id = r.id and i.closed_at is null) as open
    from room r where r.id = ${roomId} and (${tenantId}::uuid is null or r.tenant_id = ${tenantId}::uuid)`;
  const row = rows[0];
  return row ? { room: fromRoomRow(row.room), open: row.open.map(fromIncarnationRow) } : null;
}

async function readIncarnation(tx: SqlTx, roomId: string, incarnation: number): Promise<IncarnationRecord | null> {
  const rows = await tx.$queryRaw<{ incarnation: IncarnationRow }[]>`
    select to_jsonb(i) as incarnation from incarnation i where i.room_id = ${roomId} and i.incarnation = ${incarnation}`;
  return rows[0] ? fromIncarnationRow(rows[0].incarnation) : null;
}

/**
 * Compare and set, and everything that comes with a saved row: its events, its incarnations, and the word to other processes. One statement; what hangs on
 * `moved` happens only if the row was still the one that this one was made from.
 */
async function writeRoom(tx: SqlTx, { next, news, opens, reports }: RoomSave): Promise<boolean> {
  const at = new Date(next.stateSince);
  const rows = await tx.$queryRaw<unknown[]>`
    with moved as (
      update room set
        state = n.state, state_since = n.state_since, move = n.move, deadline_at = n.deadline_at, wanted = n.wanted, wake_pending = n.wake_pending,
        failures = n.failures, failure = n.failure, generation = n.generation, event_count = n.event_count, incarnation = n.incarnation, host_id = n.host_id,
        metadata = n.metadata, env_names = n.env_names, env_sealed = n.env_sealed, has_disk = n.has_disk, store_group = n.store_group, engine = n.engine,
        image = n.image, image_spent = n.image_spent, sealed_at = n.sealed_at, previous = n.previous, resumed_from = n.resumed_from, isolation = n.isolation,
        lifecycle = n.lifecycle, ends_at = n.ends_at, network = n.network, boot_next = n.boot_next, holders = n.holders, hold = n.hold, origin = n.origin, ending = n.ending
      from jsonb_populate_record(null::room, ${JSON.stringify(toRoomRow(next))}::jsonb) n
      where room.id = n.id and room.tenant_id = n.tenant_id and room.generation = n.generation - 1
      returning room.id, room.tenant_id
    ), told as (
      insert into room_event (room_id, number, tenant_id, event)
      select moved.id, (event->>'id')::int, moved.tenant_id, event from moved, jsonb_array_elements(${JSON.stringify(news)}::jsonb) event
    ), opened as (
      insert into incarnation (room_id, incarnation, tenant_id, host_id, phase, sequence, opened_at)
      select moved.id, o.incarnation, moved.tenant_id, o."hostId", 'starting', 0, ${at}::timestamptz
      from moved, jsonb_to_recordset(${JSON.stringify(opens ? [opens] : [])}::jsonb) o(incarnation int, "hostId" text)
    ), reported as (
      update incarnation i set
        phase = r.phase, sequence = coalesce(r.sequence, i.sequence), reason = coalesce(r.reason, i.reason), closed_at = case when r.phase = 'gone' then ${at}::timestamptz end
      from moved, jsonb_to_recordset(${JSON.stringify(reports)}::jsonb) r(incarnation int, phase text, sequence bigint, reason text)
      where i.room_id = moved.id and i.incarnation = r.incarnation and i.closed_at is null and (r.sequence is null or i.sequence <= r.sequence)
    )
    select pg_notify(${roomChannel}, ${noticeOf(next)})::text as told from moved`;
  return rows.length === 1;
}

async function writeReport(tx: SqlTx, roomId: string, { incarnation, phase, sequence, reason }: IncarnationReport, now: number): Promise<void> {
  await tx.$executeRaw`
    update incarnation set
      phase = ${phase}, sequence = coalesce(${sequence}::bigint, sequence), reason = coalesce(${reason}, reason),
      closed_at = case when ${phase} = 'gone' then ${new Date(now)}::timestamptz end
    where room_id = ${roomId} and incarnation = ${incarnation} and closed_at is null and (${sequence}::bigint is null or sequence <= ${sequence}::bigint)`;
}

/** A number beyond the column's range is beyond every event. */
function clampInt(value: number): number {
  return Math.min(Math.max(0, Math.trunc(value)), 2 ** 31 - 1);
}
