import { readFileSync } from 'node:fs';
import { envdVersion } from './mapping';

/** The SDK asks what a sandbox can by the version of envd that it says. Read from the SDK as it is published, never copied from it. */
const source = readFileSync(require.resolve('e2b'), 'utf8');

const parts = (version: string): number => version.split('.').reduce((sum, part) => sum * 1000 + Number(part), 0);

function thresholds(): string[] {
  const constants = new Map([...source.matchAll(/(?:const|var|let) ([A-Za-z_]\w*) = "(\d+\.\d+\.\d+)"/g)].map(([, name, version]) => [name ?? '', version ?? '']));
  const found = [...source.matchAll(/compareVersions\)\(([^;]{1,120}?), (?:"(\d+\.\d+\.\d+)"|([A-Z]\w*))\) (?:<|>=)/g)];
  return found.flatMap(([, subject = '', literal, name = '']) => (/node/i.test(subject) ? [] : [literal ?? constants.get(name) ?? `unknown: ${name}`]));
}

it('is one that the SDK asks nothing more of than what is served', () => {
  // Whoever moves this list: serve what the new version stands for first, then raise envdVersion.
  expect([...new Set(thresholds())].sort((a, b) => parts(a) - parts(b))).toEqual(['0.1.0', '0.1.4', '0.1.5', '0.2.4', '0.3.0', '0.4.0', '0.5.2', '0.5.7', '0.6.2', '0.6.3', '0.6.4']);
  for (const threshold of thresholds()) expect(parts(envdVersion)).toBeGreaterThanOrEqual(parts(threshold));
});
