import type { Secret } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import { findProgram, runWithSecret } from '../drivers/qemu/processes';
import { diskNode, inherited } from '../drivers/qemu/qemu.args';
import type { QmpClient } from '../drivers/qemu/qmp';

/**
 * Internal snapshots of a room's disk: each kept image has one, named by the disk state, so that an older image can be woken with the disk it was taken with. They are
 * made and dropped by the VMM that has the disk open, and gone back to while none has.
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

/** Puts a disk that no VMM has open back to a state. Problem `image.disk_mismatch` when that state is not kept in it. */
export async function revertTo(qemuImgPath: string, diskPath: string, state: string, passphrase: Secret<Buffer>): Promise<void> {
  const program = await findProgram(qemuImgPath, 'qemu-utils');
  const { code, output } = await runWithSecret(
    program,
    [
      'snapshot',
      ...['--object', `secret,id=passphrase,format=base64,file=/dev/fd/${inherited.secret}`],
      ...['--image-opts', '-a', state],
      `driver=qcow2,encrypt.format=luks,encrypt.key-secret=passphrase,file.driver=file,file.filename=${diskPath.replaceAll(',', ',,')}`,
    ],
    passphrase,
  );
  if (code !== 0) throw new Problem('image.disk_mismatch', { detail: "the disk's state of that image is not kept any more", cause: output });
}
