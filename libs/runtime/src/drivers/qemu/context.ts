import type { Clock, Log } from '@alcove/base';
import type { QemuEngine } from './engine';
import type { Accelerator } from './qemu.args';
import type { StoreLayout } from './store-layout';
import type { UserPool } from './user-pool';

export interface QemuDriverOptions {
  /** `auto`: KVM when a tiny guest runs under it, emulation otherwise. */
  accelerator: 'auto' | Accelerator;
  /** Paths or names. */
  qemuPath: string;
  qemuImgPath: string;
  /** Templates, images and disks: data. */
  storeDir: string;
  /** Run folders: sockets and identities of running VMs. A short path, best on tmpfs. */
  hostDir: string;
  /** As root: every VM runs as a user of its own, with a number from here on. null: as the own user (development). */
  uidBase: number | null;
  /** Translation cache of each emulated guest: less memory against less speed. */
  tbSizeMiB: number;
  log: Log;
  clock: Clock;
}

/** What the driver's parts work with. */
export interface QemuContext {
  readonly options: QemuDriverOptions;
  readonly layout: StoreLayout;
  readonly users: UserPool;
  /** Rejects with `engine.missing` or `engine.failed` where no room can run. */
  engine(): Promise<QemuEngine>;
}
