import { BadSettings, LogLevel, ListenAddress, readSettings } from '@alcove/contracts';
import { limits } from '@alcove/base';
import { z } from 'zod';

const integer = (from: number, to: number) => z.coerce.number().int().min(from).max(to);
const path = z.string().startsWith('/', 'must be an absolute path');

/** Every setting of the host agent. Absolute paths, because a daemon's working folder is nobody's promise. */
export const HostSettings = z.strictObject({
  ALCOVE_HOST_ID: z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'must be 1…64 of a-z 0-9 . _ -'),
  ALCOVE_HOST_LISTEN: ListenAddress,
  /** How the control plane reaches this host; https://<listen address> unless given. */
  ALCOVE_HOST_URL: z.url({ protocol: /^https$/ }).optional(),
  ALCOVE_CONTROL_URL: z.url({ protocol: /^https$/ }),
  ALCOVE_TLS_CA: path,
  ALCOVE_TLS_CERT: path,
  ALCOVE_TLS_KEY: path,
  /** Templates and rooms: data that must survive. */
  ALCOVE_STORE_DIR: path,
  /** The journal, the lease, run folders: this machine's own. */
  ALCOVE_HOST_DIR: path,
  ALCOVE_DRIVER: z.enum(['qemu', 'fake']).default('qemu'),
  ALCOVE_ACCELERATOR: z.enum(['auto', 'kvm', 'tcg']).default('auto'),
  /** Hosts of one group see the same store; absent: this host alone. */
  ALCOVE_STORE_GROUP: z.string().min(1).max(64).optional(),
  ALCOVE_ROOMS_MAX: integer(1, 10_000).default(64),
  /** First of a range of user ids, one per room; absent: rooms run as this user. */
  ALCOVE_VM_UID_BASE: integer(1, 2 ** 31).optional(),
  /** Paths, or names to be found on the PATH. */
  ALCOVE_QEMU: z.string().min(1).default('qemu-system-x86_64'),
  ALCOVE_QEMU_IMG: z.string().min(1).default('qemu-img'),
  /** Translation cache of each emulated guest: less memory against less speed. */
  ALCOVE_TB_SIZE_MIB: integer(8, 1024).default(64),
  ALCOVE_LOG_LEVEL: LogLevel.default('info'),
  ALCOVE_HEARTBEAT_MS: integer(10, 60_000).default(limits.host.heartbeatMs),
  /** Ceiling on the lease that the control plane grants. */
  ALCOVE_LEASE_MS: integer(50, 600_000).default(limits.host.leaseMs),
  ALCOVE_LEASE_MARGIN_MS: integer(10, 60_000).default(limits.host.leaseMarginMs),
  ALCOVE_ORPHAN_GRACE_MS: integer(10, 600_000).default(limits.host.orphanGraceMs),
});
export type HostSettings = z.infer<typeof HostSettings>;

/** Reads the settings, or says what is wrong in one line on standard error and exits with 78 (EX_CONFIG). */
export function hostSettings(): { settings: HostSettings; unknown: string[] } {
  try {
    return readSettings(HostSettings, process.env);
  } catch (error) {
    if (!(error instanceof BadSettings)) throw error;
    process.stderr.write(`alcove-host: ${error.message}\n`);
    process.exit(BadSettings.exitCode);
  }
}
