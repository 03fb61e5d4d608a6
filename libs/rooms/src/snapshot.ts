import type { Snapshot } from '@alcove/contracts';
import type { RoomRecord } from './room';

/** A snapshot is a frozen room under another name: the digits are the same. */
export function snapshotId(roomId: string): string {
  return roomId.replace(/^room_/, 'snap_');
}

/** The row of a snapshot. */
export function frozenId(id: string): string {
  return id.replace(/^snap_/, 'room_');
}

/** The snapshot as its tenant sees it. */
export function toSnapshot(record: RoomRecord, warnings: readonly string[]): Snapshot {
  return {
    id: snapshotId(record.id),
    userId: record.userId,
    roomId: record.origin?.roomId ?? record.id,
    name: record.snapshotName,
    template: record.template,
    templateId: record.templateId,
    size: { ...record.size },
    metadata: { ...record.metadata },
    createdAt: new Date(record.createdAt).toISOString(),
    bytes: record.image?.bytes ?? 0,
    warnings: [...warnings],
  };
}
