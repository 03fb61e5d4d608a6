import { isProblem, Problem } from '@alcove/contracts';
import type { Db, SqlTx } from '@alcove/db';
import type { Users } from '@alcove/identity';
import type { KeyOwner, KeysService } from '@alcove/keys';
import { readStream, type StreamName } from './sealed/blobs';
import type { CatalogueStore } from './sealed/catalogue-store';
import { type Head, newHead, openHead, readHead, saveHead, sealHead } from './sealed/head';
import { Mismatch, type StreamStore } from './sealed/open-stream';
import { catalogueStream, type OpenUser, type OpenUsers } from './sealed/open-users';
import { Sealing } from './sealed/sealing';
import { type Change, writeStreams } from './sealed/write-streams';

/** What this lib asks of libs/keys. */
export type MemoryKeys = Pick<KeysService, 'withUserKeys'>;

/** Rounds of reading before it counts as wrong and not as overtaken by a writer; the last one keeps writers out. */
const attempts = 4;

/** One transaction on one user's memory. */
export class MemoryUnit {
  constructor(
    readonly tx: SqlTx,
    readonly owner: KeyOwner,
    private readonly keys: MemoryKeys,
    private readonly opened: OpenUsers,
    /** As the user's head was when the transaction read it; a writer changes it and saves it at the end. */
    readonly head: Head,
  ) {}

  /** Lends the user's keys. Nothing of them may be kept, and the function does not wait. */
  readonly withSealing = <T>(use: (sealing: Sealing) => T): Promise<T> => this.keys.withUserKeys(this.owner, this.tx, (keys) => use(new Sealing(keys, this.owner)));

  /**
   * Opens these streams as they are under the head, and hands them to a function that does not wait. Mismatch when what is stored is not what the head speaks of, or when this process
   * has seen a newer head meanwhile.
   */
  async open<T>(names: readonly StreamName[], use: (stores: StreamStore[]) => T): Promise<T> {
    for (;;) {
      const user = this.opened.get(this.owner);
      const behind = names.find((name) => user.stream(name).seq !== this.head.seq);
      if (behind === undefined) return use(names.map((name) => user.stream(name).store));
      await this.#catchUp(user, behind);
    }
  }

  /** Whether a stream is open already, as it is under the head. */
  isOpen(name: StreamName): boolean {
    return this.opened.get(this.owner).stream(name).seq === this.head.seq;
  }

  catalogue<T>(use: (catalogue: CatalogueStore) => T): Promise<T> {
    return this.open([catalogueStream], ([store]) => use(store as CatalogueStore));
  }

  /**
   * Writes entries, as the next write of this user; in a unit that was opened for writing, which saves the head at its end. What this unit opens afterwards has them, though they are not
   * committed yet: should they never be, everything of this user that is open is closed.
   */
  async write(changes: readonly Change[]): Promise<void> {
    if (changes.length === 0) return;
    this.head.seq += 1;
    await writeStreams(this.tx, this.owner, this.withSealing, this.head, changes);
  }

  /** A stream whose rows are gone: the head speaks of it no more, and nothing of it stays open. */
  forget(stream: StreamName): void {
    this.head.streams.delete(stream);
    this.head.seq += 1;
    this.opened.get(this.owner).stream(stream).wipe();
  }

  async #catchUp(user: OpenUser, name: StreamName): Promise<void> {
    const stream = user.stream(name);
    if (stream.seq > this.head.seq) throw new Mismatch('this process knows a newer head');
    const since = stream.since(this.head);
    const rows = await readStream(this.tx, this.owner, name, since);
    await this.withSealing((sealing) => {
      // Somebody else in this process may have caught up while the rows were on their way, or the memory may have been closed.
      if (user.stream(name) === stream && stream.since(this.head) === since) stream.absorb(sealing, this.head, since, rows);
    });
  }
}

interface Written<T> {
  result: T;
  seq: number;
}

export interface UnitParts {
  readonly db: Db;
  readonly keys: MemoryKeys;
  readonly users: Users;
  readonly opened: OpenUsers;
  /** In a writer's transaction, after its write. */
  readonly changed?: (tx: SqlTx, owner: KeyOwner) => Promise<void>;
}

/** Opens units. Problems of both kinds: `user.gone`, `vault.key_unavailable` (what was open of the memory is closed then), `vault.corrupt`, `memory.rolled_back`. */
export class MemoryUnits {
  constructor(private readonly parts: UnitParts) {}

  /** For looking. `work` runs again when a writer came in between, so it has no effects but through its transaction. Problem `user.not_found`. */
  reading<T>(owner: KeyOwner, work: (unit: MemoryUnit) => Promise<T>): Promise<T> {
    return this.#guarded(owner, async (last) =>
      this.parts.db.withTenantSql(owner.tenantId, async (tx) => {
        await this.parts.users.requireActive(tx, owner.tenantId, owner.userId);
        return work(await this.#unit(tx, owner, last ? 'share' : 'none'));
      }),
    );
  }

  /**
   * For changing: one writer of a user at a time. The head is saved when work is done. `create`: a user that is not known comes to be; else Problem `user.not_found`.
   */
  writing<T>(owner: KeyOwner, work: (unit: MemoryUnit) => Promise<T>, options: { create?: boolean } = {}): Promise<T> {
    const { db, users } = this.parts;
    return this.#guarded(owner, () =>
      this.#undone(owner, (begin) =>
        db.withTenantSql(owner.tenantId, async (tx) => {
          begin();
          if (options.create) await users.ensureUser(tx, owner.tenantId, owner.userId);
          else await users.requireActive(tx, owner.tenantId, owner.userId);
          return this.#written(tx, owner, work);
        }),
      ),
    );
  }

  /** As writing(), whatever the state of the user: for what removes, and for upkeep. Nothing happens where there is no memory. */
  upkeep(owner: KeyOwner, work: (unit: MemoryUnit) => Promise<void>): Promise<void> {
    return this.#guarded(owner, () =>
      this.#undone(owner, (begin) =>
        this.parts.db.withTenantSql(owner.tenantId, async (tx) => {
          begin();
          return this.#written(tx, owner, work);
        }),
      ),
    );
  }

  /** As upkeep(), in a transaction at hand; whoever has it sees to it that what was opened is closed when it fails. */
  async within<T>(tx: SqlTx, owner: KeyOwner, work: (unit: MemoryUnit) => Promise<T>): Promise<T> {
    return (await this.#written(tx, owner, work)).result;
  }

  /** What a transaction that failed, or is run again, had opened of its own writes must not be believed; the number of one that was committed is remembered. */
  async #undone<T>(owner: KeyOwner, run: (begin: () => void) => Promise<Written<T>>): Promise<T> {
    let runs = 0;
    const begin = (): void => {
      if (runs > 0) this.parts.opened.close(owner);
      runs += 1;
    };
    try {
      const { result, seq } = await run(begin);
      this.parts.opened.see(owner, seq);
      return result;
    } catch (error) {
      if (runs > 0) this.parts.opened.close(owner);
      throw error;
    }
  }

  async #written<T>(tx: SqlTx, owner: KeyOwner, work: (unit: MemoryUnit) => Promise<T>): Promise<Written<T>> {
    const unit = await this.#unit(tx, owner, 'update');
    // The catalogue is opened first: nothing is added to what is not as it was written.
    await unit.catalogue(() => undefined);
    const { seq } = unit.head;
    const result = await work(unit);
    if (unit.head.seq !== seq) {
      await saveHead(tx, owner, unit.head, await unit.withSealing((sealing) => sealHead(sealing, unit.head)));
      await this.parts.changed?.(tx, owner);
    }
    return { result, seq: unit.head.seq };
  }

  async #unit(tx: SqlTx, owner: KeyOwner, lock: 'none' | 'share' | 'update'): Promise<MemoryUnit> {
    const { keys, opened } = this.parts;
    const row = await readHead(tx, owner, lock);
    const user = opened.get(owner);
    const seen = user.head;
    if (opened.seen(owner) > (row?.seq ?? 0)) throw new Mismatch('this process knows a newer head');
    if (seen && row && seen.seq === row.seq) return new MemoryUnit(tx, owner, keys, opened, copyOf({ ...seen, records: row.records, bytes: row.bytes }));
    const head = await keys.withUserKeys(owner, tx, (lent) => (row ? openHead(new Sealing(lent, owner), row) : newHead(lent.current)));
    if (row && (opened.get(owner).head?.seq ?? 0) < head.seq) opened.get(owner).head = copyOf(head);
    if (row) opened.see(owner, head.seq);
    return new MemoryUnit(tx, owner, keys, opened, head);
  }

  async #guarded<T>(owner: KeyOwner, run: (last: boolean) => Promise<T>): Promise<T> {
    const { opened } = this.parts;
    for (let attempt = 1; ; attempt++) {
      try {
        return await run(attempt === attempts);
      } catch (error) {
        if (error instanceof Mismatch && attempt < attempts) continue;
        if (error instanceof Mismatch || isProblem(error, 'vault.key_unavailable') || isProblem(error, 'user.gone') || isProblem(error, 'vault.corrupt')) opened.close(owner);
        if (error instanceof Mismatch) throw new Problem('memory.rolled_back', { cause: error, detail: error.message });
        throw error;
      } finally {
        opened.trim();
      }
    }
  }
}

function copyOf(head: Head): Head {
  return { ...head, streams: new Map([...head.streams].map(([name, state]) => [name, { ...state, digest: Buffer.from(state.digest) }])) };
}
