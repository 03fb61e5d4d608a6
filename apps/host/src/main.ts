import { readFile } from 'node:fs/promises';
import { createLog, type Log, systemRandom } from '@alcove/base';
import { machineCapacity } from './capacity';
import { type HostSettings, hostSettings } from './config';
import { httpsControlPlane } from './control-plane';
import { createEngine } from './engine';
import { Host } from './host';
import { FolderTaken, leaseKeeper, takeFolder } from './host-folder';
import { FileJournal } from './journal';
import { machineClock } from './machine-clock';
import { keepWarden, wardenOrder } from './warden/ensure-warden';
import { machineBootId, readLease } from './warden/lease-file';

async function build(settings: HostSettings, log: Log): Promise<Host> {
  const folder = settings.ALCOVE_HOST_DIR;
  const clock = machineClock();
  const tls = await readTls(settings);
  const { driver, templates } = await createEngine(settings, clock, log);
  // Fake VMs are no processes: there is nothing that could outlive this one.
  if (driver.capabilities.name === 'qemu') {
    const order = await wardenOrder({ hostDir: folder, leaseMs: settings.ALCOVE_LEASE_MS, leaseMarginMs: settings.ALCOVE_LEASE_MARGIN_MS });
    void keepWarden(order, clock, log);
  }
  const bootId = await machineBootId();
  const lease = { earlier: await readLease(folder), machineBootId: bootId, keep: leaseKeeper(folder, bootId, log) };
  const controlPlane = httpsControlPlane(settings.ALCOVE_CONTROL_URL, settings.ALCOVE_HOST_ID, tls);
  const journal = await FileJournal.open(folder, log);
  const options = {
    hostId: settings.ALCOVE_HOST_ID,
    ...(settings.ALCOVE_STORE_GROUP === undefined ? {} : { storeGroup: settings.ALCOVE_STORE_GROUP }),
    roomsMax: settings.ALCOVE_ROOMS_MAX,
    heartbeatMs: settings.ALCOVE_HEARTBEAT_MS,
    leaseMs: settings.ALCOVE_LEASE_MS,
    leaseMarginMs: settings.ALCOVE_LEASE_MARGIN_MS,
    orphanGraceMs: settings.ALCOVE_ORPHAN_GRACE_MS,
  };
  const capacity = (rooms: { max: number; used: number }) => machineCapacity(settings.ALCOVE_STORE_DIR, rooms);
  const parts = { driver, journal, templates, controlPlane, clock, random: systemRandom, log, lease, capacity };
  const host = new Host(parts, options, settings.ALCOVE_HOST_URL ?? 'https://localhost');
  host.metrics.withProcess();
  await host.prepare();
  const bound = await host.listen(settings.ALCOVE_HOST_LISTEN, tls, settings.ALCOVE_HOST_URL);
  host.run();
  // One line for whoever started this process: with port 0 it is the only way to know.
  process.stdout.write(`${JSON.stringify({ listening: bound, hostId: options.hostId, bootId: host.bootId })}\n`);
  return host;
}

async function readTls(settings: HostSettings): Promise<{ ca: Buffer; cert: Buffer; key: Buffer }> {
  const [ca, cert, key] = await Promise.all([readFile(settings.ALCOVE_TLS_CA), readFile(settings.ALCOVE_TLS_CERT), readFile(settings.ALCOVE_TLS_KEY)]);
  return { ca, cert, key };
}

async function main(): Promise<void> {
  const { settings, unknown } = hostSettings();
  const log = createLog('host', settings.ALCOVE_LOG_LEVEL);
  if (unknown.length > 0) log.debug({ unknown }, 'settings that are not the host agent’s');
  // Whoever read our first line may be gone: rooms do not end with them.
  process.stdout.on('error', () => undefined);
  process.on('unhandledRejection', (err) => log.error({ err }, 'a failure nobody waited for'));
  process.on('uncaughtException', (err) => {
    log.fatal({ err }, 'a failure of the agent itself; rooms go on running');
    process.exit(70);
  });
  try {
    await takeFolder(settings.ALCOVE_HOST_DIR);
    const host = await build(settings, log);
    let stopping = false;
    const stop = (signal: NodeJS.Signals) => {
      if (stopping) return;
      stopping = true;
      log.info({ signal }, 'stopping; rooms go on running');
      host.stop().then(() => process.exit(0), (err: unknown) => {
        log.fatal({ err }, 'could not stop in order');
        process.exit(1);
      });
    };
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
  } catch (err) {
    log.fatal({ err }, 'the host agent cannot start');
    process.exit(err instanceof FolderTaken ? FolderTaken.exitCode : 1);
  }
}

void main();
