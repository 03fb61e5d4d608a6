import { createHash } from 'node:crypto';
import type { ErasedObject } from '@alcove/contracts';
import type { Db } from '@alcove/db';
import type { ErasePurge, PurgeReport } from '@alcove/keys';
import type { RoomRecord } from './room';
import type { RoomUsers } from './room-users';

const notCovered = [{ what: 'hashes of disks: they are listed with the size that their rooms were given, because no host reads one whole to remove it', until: null }];

/** What rooms do when a user is erased: an end to every room, its images and disk removed by a host, and what its rows still hold. */
export class RoomsPurge implements ErasePurge {
  readonly name = 'rooms';

  constructor(
    private readonly db: Db,
    private readonly users: Pick<RoomUsers, 'purge' | 'roomsOf'>,
  ) {}

  async inventory({ tenantId, userId }: { tenantId: string; userId: string }): Promise<readonly ErasedObject[]> {
    return (await this.users.roomsOf(tenantId, userId)).flatMap(objectsOf);
  }

  async purge({ tenantId, userId }: { tenantId: string; userId: string }): Promise<PurgeReport> {
    const { over, rooms } = await this.users.purge(tenantId, userId);
    if (over) await this.#scrub(tenantId, userId);
    return { over, objects: rooms.flatMap(objectsOf), notCovered };
  }

  /** What rows of rooms that are gone still hold of the user's, sealed or not; what moves of them were told; jobs that were taken. */
  async #scrub(tenantId: string, userId: string): Promise<void> {
    await this.db.withTenantSql(tenantId, async (tx) => {
      await tx.$executeRaw`
        update room set metadata = '{}', env_names = '{}', env_sealed = null, image = null, previous = null
        where tenant_id = ${tenantId}::uuid and user_id = ${userId} and state = 'destroyed'`;
      await tx.$executeRaw`delete from saga where tenant_id = ${tenantId}::uuid and state in ('done', 'undone') and params ->> 'userId' = ${userId}`;
      await tx.$executeRaw`
        delete from outbox where tenant_id = ${tenantId}::uuid and dispatched_at is not null
          and (payload ->> 'userId' = ${userId} or payload ->> 'roomId' in (select id from room where tenant_id = ${tenantId}::uuid and user_id = ${userId}))`;
    });
  }
}

function objectsOf(room: RoomRecord): ErasedObject[] {
  const image = (kind: 'memory_image' | 'checkpoint', ref: RoomRecord['image']): ErasedObject[] => (ref ? [{ kind, id: `${room.id}/${ref.id}`, bytes: ref.bytes, sha256: ref.sha256 }] : []);
  const images = [...image('memory_image', room.image), ...image('checkpoint', room.previous)];
  const disk: ErasedObject[] = room.hasDisk ? [{ kind: 'disk', id: room.id, bytes: room.size.diskMiB * 2 ** 20, sha256: null }] : [];
  if (room.envSealed === null) return [...images, ...disk];
  const sealed = Buffer.from(room.envSealed, 'base64');
  return [...images, ...disk, { kind: 'environment', id: room.id, bytes: sealed.length, sha256: createHash('sha256').update(sealed).digest('hex') }];
}
