import type { Context } from '../context';
import { setUp } from '../setup/setup';
import { curlLines } from './curl-lines';
import { developmentKey } from './development-key';
import { firstRoom } from './first-room';
import { startPlatform } from './up';

/** Sets up what is missing, starts the platform, and prints how to use it. Does no harm when it is up already. */
export async function bringUp(context: Context, options: { yes: boolean; json: boolean }): Promise<void> {
  const settings = await setUp(context, { yes: options.yes });
  const { status, startedNow } = await startPlatform(context, settings);
  const { url } = status;
  const { key, tenantId } = await developmentKey(context, url, settings);
  const roomId = await context.progress.step('a room to try', () => firstRoom(url, key), (id) => id);
  const curl = curlLines(url, key, roomId);
  if (options.json) context.print(JSON.stringify({ url, key, tenantId, roomId, platformKey: settings.platformKey, curl, startedNow }, null, 2));
  else context.print(welcome(context, { url, key, curl, startedNow }));
}

function welcome({ style, paths }: Context, about: { url: string; key: string; curl: string[]; startedNow: boolean }): string {
  const lines = [
    '',
    `  Alcove is ${about.startedNow ? 'up' : 'up already'}`,
    '',
    `  URL   ${style.bold(about.url)}`,
    `  key   ${style.bold(about.key)}   (tenant "development")`,
    `  page  ${about.url}/docs   (any name, the key as the password)`,
    '',
    '  Three lines to paste: the rooms, a word with an agent (its room sleeps; this wakes it), a command in its room.',
    '',
    ...about.curl,
    '',
    style.dim(`  Development mode: the root key is a file (${paths.rootKey}); whoever can read it can open every room.`),
    style.dim('  ./alcove status shows what runs, ./alcove down puts all rooms to sleep and stops the platform.'),
    '',
  ];
  return lines.join('\n');
}
