import type { QueueSetting } from '@alcove/contracts';
import type { QueueBackend } from './bull-queue';

/** The backend that the setting ALCOVE_QUEUE names. */
export function queueBackend(setting: QueueSetting, databaseUrl: string): QueueBackend {
  return setting === 'postgres' ? { kind: 'postgres', url: databaseUrl } : { kind: 'redis', url: setting.href };
}
