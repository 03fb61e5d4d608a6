import { tmpdir } from 'node:os';
import { environment } from '../test.config';

/** What the suites with real rooms take from the environment. */
export interface TestConfig {
  /** The home that `./alcove setup` prepared: its templates are shared with the homes that the suites make. */
  home: string;
  /** Where homes are made; on the same file system as `home`, so that templates are linked and not copied. */
  temporary: string;
  /** Everything that child processes inherit. */
  environment: Record<string, string>;
  /** `./alcove test --all`: the long form of suites that have one. */
  all: boolean;
}

export function testConfig(): TestConfig {
  const inherited = Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined && !entry[0].startsWith('TEST_DB'));
  return { home: environment.homeFolder, temporary: process.env['ALCOVE_TEST_HOMES'] ?? tmpdir(), environment: Object.fromEntries(inherited), all: process.env['ALCOVE_TEST_ALL'] === '1' };
}
