import { Secret } from '@alcove/base';
import { BadSettings, controlPlaneSettings, describeKeys, keysConfig, qdrantConfig, readSettings, readTlsIdentity, withoutCredentials, type KeysConfig, type QdrantConfig, type QueueSetting, type TlsIdentity } from '@alcove/contracts';
import { z } from 'zod';

export const WorkerSettings = z.strictObject(controlPlaneSettings);

export interface WorkerConfig {
  readonly databaseUrl: Secret<string>;
  readonly keys: KeysConfig;
  /** Where vectors of tenants who chose it lie, obfuscated; null: nowhere but in the database. */
  readonly qdrant: QdrantConfig | null;
  readonly queue: QueueSetting;
  readonly tls: TlsIdentity;
  readonly logLevel: string;
}

/** The worker's configuration. Throws BadSettings: also for an ALCOVE_ name that is none of its settings, for it may be a mistyped one. */
export function workerConfig(environment: NodeJS.ProcessEnv = process.env): WorkerConfig {
  const { settings, unknown } = readSettings(WorkerSettings, environment);
  if (unknown.length > 0) throw new BadSettings(`${unknown.join(', ')}: no such setting`);
  return {
    databaseUrl: new Secret(settings.ALCOVE_DATABASE_URL),
    keys: keysConfig(settings),
    qdrant: qdrantConfig(settings),
    queue: settings.ALCOVE_QUEUE,
    tls: readTlsIdentity(settings),
    logLevel: settings.ALCOVE_LOG_LEVEL,
  };
}

/** What may be logged of the configuration at start. */
export function describeConfig(config: WorkerConfig): Record<string, unknown> {
  return {
    database: withoutCredentials(config.databaseUrl.expose()),
    queue: config.queue === 'postgres' ? 'postgres' : withoutCredentials(config.queue),
    keys: describeKeys(config.keys),
    qdrant: config.qdrant && withoutCredentials(config.qdrant.url),
    logLevel: config.logLevel,
  };
}
