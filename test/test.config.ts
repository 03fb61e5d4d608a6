/** The only place where tests' set-up touches the environment. */
import { homedir } from 'node:os';
import { join } from 'node:path';

const defaultCache = process.getuid?.() === 0 ? '/var/cache/alcove' : join(homedir(), '.cache/alcove');

export const environment = {
  /** Where downloads and builds that can be made again are kept, outside the clone. */
  cacheFolder: process.env['ALCOVE_CACHE'] ?? defaultCache,
  /** Makes a value visible to every suite of this jest run. */
  publish(name: string, value: string): void {
    process.env[name] = value;
  },
};
