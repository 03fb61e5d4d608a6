import type { Capacity, HostDescription } from '@alcove/contracts';
import type { Db, Tx } from '@alcove/db';
import { templatesOf, type HostRecord, type TemplateRecord } from './host';
import { HostsStore } from './hosts.store';

interface HostRow {
  id: string;
  description: unknown;
  capacity: unknown;
  bootId: string;
  sequence: bigint;
  beats: bigint;
  beatAt: Date;
  lost: boolean;
}

/** The tables host and template. They belong to no tenant. */
export class PostgresHostsStore extends HostsStore {
  readonly #db: Db;
  /** Templates that this process has written down already. */
  readonly #known = new Set<string>();

  constructor(db: Db) {
    super();
    this.#db = db;
  }

  override async find(hostId: string): Promise<HostRecord | null> {
    const row = await this.#db.asSystem('host-report', (tx) => tx.host.findUnique({ where: { id: hostId } }));
    return row ? toHost(row) : null;
  }

  override async all(): Promise<HostRecord[]> {
    const rows = await this.#db.asSystem('host-report', (tx) => tx.host.findMany({ orderBy: { id: 'asc' } }));
    return rows.map(toHost);
  }

  override async beat(host: HostRecord, takeBack: boolean): Promise<'taken' | 'overtaken' | 'lost'> {
    const fresh = templatesOf(host.description).filter(({ id }) => !this.#known.has(id));
    const outcome = await this.#db.asSystem('host-report', async (tx) => {
      for (const template of fresh) await writeTemplate(tx, template);
      return writeBeat(tx, host, takeBack);
    });
    for (const { id } of fresh) this.#known.add(id);
    return outcome;
  }

  override async markLost(hostId: string, beats: number): Promise<boolean> {
    const { count } = await this.#db.asSystem('reconcile', (tx) => tx.host.updateMany({ where: { id: hostId, beats: BigInt(beats) }, data: { lost: true } }));
    return count === 1;
  }

  override async newestTemplate(name: string): Promise<TemplateRecord | null> {
    const row = await this.#db.asSystem('host-report', (tx) => tx.template.findFirst({ where: { name }, orderBy: [{ builtAt: 'desc' }, { id: 'asc' }] }));
    return row && { id: row.id, name: row.name, builtAt: row.builtAt.getTime(), cloneSafe: row.cloneSafe, size: row.size as unknown as TemplateRecord['size'] };
  }
}

async function writeTemplate(tx: Tx, template: TemplateRecord): Promise<void> {
  const { id, name, builtAt, cloneSafe, size } = template;
  await tx.$executeRaw`
    insert into template (id, name, built_at, clone_safe, size) values (${id}, ${name}, ${new Date(builtAt)}, ${cloneSafe}, ${JSON.stringify(size)}::jsonb)
    on conflict (id) do nothing`;
}

/** Why nothing was written is read after, in the same transaction: the row is either a later beat's or lost. */
async function writeBeat(tx: Tx, host: HostRecord, takeBack: boolean): Promise<'taken' | 'overtaken' | 'lost'> {
  const written = await tx.$executeRaw`
    insert into host as h (id, description, capacity, boot_id, sequence, beats, beat_at)
    values (${host.id}, ${JSON.stringify(host.description)}::jsonb, ${JSON.stringify(host.capacity)}::jsonb, ${host.bootId}, ${host.sequence}, 1, ${new Date(host.beatAt)})
    on conflict (id) do update set
      description = excluded.description, capacity = excluded.capacity, boot_id = excluded.boot_id, sequence = excluded.sequence,
      beats = h.beats + 1, beat_at = excluded.beat_at, lost = false
    where (h.boot_id <> excluded.boot_id or h.sequence < excluded.sequence) and (not h.lost or ${takeBack})`;
  if (written === 1) return 'taken';
  const row = await tx.host.findUnique({ where: { id: host.id } });
  return row?.lost && (row.bootId !== host.bootId || row.sequence < host.sequence) ? 'lost' : 'overtaken';
}

function toHost(row: HostRow): HostRecord {
  const description = row.description as HostDescription;
  const capacity = row.capacity as Capacity;
  return { id: row.id, description, capacity, bootId: row.bootId, sequence: Number(row.sequence), beats: Number(row.beats), beatAt: row.beatAt.getTime(), lost: row.lost };
}
