import { type Random, systemRandom } from './random';

/** Public ids are `<kind>_<20 lower-case hex digits>`; tenants are UUIDs inside the database and `ten_…` outside would only confuse, so a tenant's id is its UUID everywhere. */
export type Id<P extends string> = `${P}_${string}`;
export type RoomId = Id<'room'>;
export type HostId = Id<'host'>;

/** A prefixed random id: 80 random bits. */
export function newId<P extends string>(prefix: P, random: Random = systemRandom): Id<P> {
  return `${prefix}_${random.bytes(10).toString('hex')}`;
}

/** A version 4 UUID (RFC 9562) from the given source. */
export function newUuid(random: Random = systemRandom): string {
  const b = random.bytes(16);
  b[6] = ((b[6] ?? 0) & 0x0f) | 0x40;
  b[8] = ((b[8] ?? 0) & 0x3f) | 0x80;
  const h = b.toString('hex');
  return `${h.slice(0, 8)}-${h.slice(8, 12)}-${h.slice(12, 16)}-${h.slice(16, 20)}-${h.slice(20)}`;
}
