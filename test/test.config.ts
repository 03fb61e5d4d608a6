/** The only place where tests' set-up touches the environment. */
import { homedir } from 'node:os';
import { join } from 'node:path';

const asRoot = process.getuid?.() === 0;
const defaultCache = asRoot ? '/var/cache/alcove' : join(homedir(), '.cache/alcove');
const defaultHome = asRoot ? '/var/lib/alcove' : join(homedir(), '.local/share/alcove');

export const environment = {
  /** Where downloads and builds that can be made again are kept, outside the clone. */
  cacheFolder: process.env['ALCOVE_CACHE'] ?? defaultCache,
  /** The home that `./alcove setup` prepared: its templates serve the suites with real rooms. */
  homeFolder: process.env['ALCOVE_HOME'] ?? defaultHome,
  /** What publish() made visible. */
  published: (name: string): string | undefined => process.env[name],
  /** Makes a value visible to every suite of this jest run. */
  publish(name: string, value: string): void {
    process.env[name] = value;
  },
};
