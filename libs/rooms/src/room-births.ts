import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { type Clock, limits, newId, type Random, systemRandom } from '@alcove/base';
import { type CreateRoom, type EnvVars, Problem, type Principal, type RoomKind, type RoomLifecycle } from '@alcove/contracts';
import type { FleetService } from '@alcove/fleet';
import { actorOf, tenantOf } from '@alcove/identity';
import type { z } from 'zod';
import type { RoomOwners, RoomSecrets } from './ports';
import { absentRoom, networkOf, personalLifecycle, sandboxLifecycle, type NewRoom, type RoomRecord } from './room';
import type { RoomMover } from './room-mover';
import { checkedLifecycle, lifecycleOver } from './room-policies';
import type { RoomsStore } from './rooms.store';
import { frozenId } from './snapshot';

export type Env = z.infer<typeof EnvVars>;

export interface BirthParts<Scope> {
  readonly store: RoomsStore<Scope>;
  readonly mover: RoomMover<Scope>;
  readonly fleet: FleetService;
  readonly secrets: RoomSecrets;
  readonly owners: RoomOwners<Scope>;
  readonly clock: Clock;
  readonly random?: Random;
  readonly defaultTemplate: string;
}

/** What a room is born from, apart from what is asked for. */
type Stock = Pick<NewRoom, 'template' | 'templateId' | 'size' | 'origin' | 'storeGroup' | 'wakePending'> & { readonly env: Env };

/** What a copy is to have of its own. */
export type CopyAs = Pick<RoomRecord, 'kind' | 'lifecycle' | 'network' | 'metadata' | 'snapshotName'>;

/** Makes the rows of rooms: from a template, or as copies of other rooms. */
export class RoomBirths<Scope> {
  constructor(private readonly parts: BirthParts<Scope>) {}

  /** The new row, or that of an earlier request with the same idempotency key. */
  async create(principal: Principal, input: z.input<typeof CreateRoom>, idempotencyKey: string | undefined): Promise<RoomRecord> {
    const tenantId = tenantOf(principal);
    const { clock, store } = this.parts;
    const named = idempotencyKey === undefined ? null : idOfRepeats(principal, idempotencyKey);
    const before = named && (await store.find(tenantId, named));
    if (before && before.room.createdAt > clock.now() - limits.http.idempotencyTtlMs) {
      // The answer to the first request, and with it what was asked for, was lost: the room tells.
      if (!this.#isSameRequest(before.room, input)) throw new Problem('request.idempotency_reused');
      return before.room;
    }
    const stock = input.snapshot === undefined ? await this.#fromTemplate(input.template) : await this.#fromSnapshot(tenantId, input);
    checkSize(input.size ?? {}, stock.size);
    const { lifecycle: asked = {}, userId, metadata = {} } = input;
    const kind = input.kind ?? (typeof asked.timeoutMs === 'number' ? 'sandbox' : 'room');
    const lifecycle = await this.#lifecycle(tenantId, kind, asked);
    const network = { ...networkOf(kind), ...input.network };
    const { env, ...born } = stock;
    const id = before || !named ? this.#newId() : named;
    return this.#make(principal, { ...born, id, tenantId, userId, kind, lifecycle, network, metadata }, { ...env, ...input.env });
  }

  /** A copy of a room as it sleeps; a running one is put to sleep for it. It wakes as soon as it is there, unless it is a snapshot. */
  async copy(principal: Principal, source: RoomRecord, as: CopyAs): Promise<RoomRecord> {
    const { tenantId, userId } = source;
    const { env, ...born } = await this.#fromRoom(source);
    return this.#make(principal, { ...born, ...as, id: this.#newId(), tenantId, userId, wakePending: as.kind !== 'snapshot' }, env);
  }

  async #make(principal: Principal, room: Omit<NewRoom, 'envNames' | 'envSealed'>, env: Env): Promise<RoomRecord> {
    const { secrets, owners, mover, clock } = this.parts;
    checkEnv(env);
    const envNames = Object.keys(env).sort();
    const envSealed = envNames.length === 0 ? null : await secrets.sealEnv(room.tenantId, room.userId, room.id, env);
    return mover.create(absentRoom({ ...room, envNames, envSealed }, clock.now()), actorOf(principal), (scope) => owners.admit(scope, room.tenantId, room.userId));
  }

  async #fromTemplate(name = this.parts.defaultTemplate): Promise<Stock> {
    const template = await this.parts.fleet.template(name);
    return { template: template.name, templateId: template.id, size: template.size, env: {} };
  }

  async #fromSnapshot(tenantId: string, { snapshot = '', template, userId }: z.input<typeof CreateRoom>): Promise<Stock> {
    const source = (await this.parts.store.find(tenantId, frozenId(snapshot)))?.room;
    if (source?.kind !== 'snapshot' || source.state !== 'hibernated' || source.wanted === 'gone') throw new Problem('snapshot.not_found');
    // What one user's room remembers is never another's.
    if (source.userId !== userId) throw new Problem('auth.scope', { detail: 'this snapshot is of another user' });
    if (template !== undefined && template !== source.template) throw new Problem('request.invalid', { errors: [{ path: 'template', message: `this snapshot is of ${source.template}` }] });
    return { ...(await this.#fromRoom(source)), wakePending: true };
  }

  async #fromRoom(source: RoomRecord): Promise<Stock> {
    const { id, tenantId, userId, template, templateId, size, storeGroup, envSealed } = source;
    const env = envSealed === null ? {} : await this.parts.secrets.openEnv(tenantId, userId, id, envSealed);
    return { template, templateId, size, storeGroup, env, origin: { roomId: id, fresh: true } };
  }

  async #lifecycle(tenantId: string, kind: RoomKind, asked: Partial<RoomLifecycle>): Promise<RoomLifecycle> {
    const platform = kind === 'room' ? personalLifecycle : sandboxLifecycle;
    const complete = Object.keys(platform).every((name) => asked[name as keyof RoomLifecycle] !== undefined);
    const defaults = complete ? {} : await this.parts.owners.defaults(tenantId, kind);
    return checkedLifecycle(lifecycleOver(lifecycleOver(platform, defaults), asked));
  }

  #newId(): string {
    return newId('room', this.parts.random ?? systemRandom);
  }

  #isSameRequest(room: RoomRecord, { userId, template = room.origin ? room.template : this.parts.defaultTemplate, metadata = {}, snapshot }: z.input<typeof CreateRoom>): boolean {
    const origin = snapshot === undefined ? null : frozenId(snapshot);
    const named = template === room.templateId ? room.templateId : room.template;
    return isDeepStrictEqual([room.userId, named, { ...room.metadata }, room.origin?.roomId ?? null], [userId, template, { ...metadata }, origin]);
  }
}

/** The same for every repeat of a request, and no other's: keys of one API key only meet each other. */
function idOfRepeats({ tenantId, keyId }: Principal, idempotencyKey: string): string {
  return `room_${createHash('sha256').update(JSON.stringify([tenantId, keyId, idempotencyKey])).digest('hex').slice(0, 20)}`;
}

/** A room has its template's size, because the template's memory was captured with it: processors, RAM and a mounted disk. A recipe names another one. */
function checkSize(asked: NonNullable<z.input<typeof CreateRoom>['size']>, template: RoomRecord['size']): void {
  const errors = (['memoryMiB', 'vcpus', 'diskMiB'] as const)
    .filter((name) => asked[name] !== undefined && asked[name] !== template[name])
    .map((name) => ({ path: `size.${name}`, message: `this template has ${template[name]}` }));
  if (errors.length > 0) throw new Problem('request.invalid', { errors });
}

/** Problem `request.invalid` beyond `limits.room.envVars` or `envBytes`. */
export function checkEnv(env: Env): void {
  const bytes = Object.entries(env).reduce((sum, [name, value]) => sum + Buffer.byteLength(name) + Buffer.byteLength(value), 0);
  if (Object.keys(env).length > limits.room.envVars) throw new Problem('request.invalid', { errors: [{ path: 'env', message: `at most ${limits.room.envVars} variables` }] });
  if (bytes > limits.room.envBytes) throw new Problem('request.invalid', { errors: [{ path: 'env', message: `at most ${limits.room.envBytes} bytes in all` }] });
}
