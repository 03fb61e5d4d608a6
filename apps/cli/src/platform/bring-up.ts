import type { Context } from '../context';
import { publicCertificate } from '../setup/certificates';
import { setUp } from '../setup/setup';
import { curlLines, e2bLines } from './curl-lines';
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
  const e2b = e2bLines({ domain: status.e2bDomain ?? '', key, authority: publicCertificate(context.config.edge, context.paths.tls).authority, root: context.config.root });
  if (options.json) context.print(JSON.stringify({ url, key, tenantId, roomId, platformKey: settings.platformKey, curl, e2b: { domain: status.e2bDomain, lines: e2b }, startedNow }, null, 2));
  else context.print(welcome(context, { url, key, curl, e2b, startedNow }));
}

function welcome({ style, paths }: Context, about: { url: string; key: string; curl: string[]; e2b: string[]; startedNow: boolean }): string {
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
    "  For programs that use E2B's SDK (npm e2b). The names of rooms lead to this machine by the last line, in Node; anywhere else by wildcard DNS for *.<domain>.",
    '',
    ...about.e2b,
    '',
    style.dim(`  Development mode: the root key is a file (${paths.rootKey}); whoever can read it can open every room.`),
    style.dim('  ./alcove status shows what runs, ./alcove down puts all rooms to sleep and stops the platform.'),
    '',
  ];
  return lines.join('\n');
}
