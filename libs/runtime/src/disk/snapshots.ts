import { diskNode } from '../drivers/qemu/qemu.args';
import type { QmpClient } from '../drivers/qemu/qmp';

/**
 * Internal snapshots of a room's disk: each kept image has one, named by the disk state, so that an older image can be woken with the disk it was taken with. They are
 * made and dropped by the VMM that has the disk open, and gone back to while none has (qemu-img.ts).
 */
export async function takeSnapshot(monitor: QmpClient, state: string): Promise<void> {
  await monitor.execute('blockdev-snapshot-internal-sync', { device: diskNode, name: state });
}

export async function dropSnapshot(monitor: QmpClient, state: string): Promise<void> {
  await monitor.execute('blockdev-snapshot-delete-internal-sync', { device: diskNode, name: state });
}

export async function listSnapshots(monitor: QmpClient): Promise<string[]> {
  const nodes = await monitor.execute('query-named-block-nodes', { flat: true });
  const disk = nodes.find((node) => node['node-name'] === diskNode);
  return (disk?.image.snapshots ?? []).map((snapshot) => snapshot.name);
}
