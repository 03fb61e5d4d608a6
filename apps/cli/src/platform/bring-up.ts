import type { Context } from '../context';
import { setUp } from '../setup/setup';
import { curlLines } from './curl-lines';
import { developmentKey } from './development-key';
import { startPlatform } from './up';

/** Sets up what is missing, starts the platform, and prints how to use it. Does no harm when it is up already. */
export async function bringUp(context: Context, options: { yes: boolean; json: boolean }): Promise<void> {
  const { style } = context;
  const settings = await setUp(context, { yes: options.yes });
  const { status, startedNow } = await startPlatform(context, settings);
  const { key, tenantId } = await developmentKey(context, status.url, settings);
  const lines = curlLines(status.url, key);
  if (options.json) {
    context.print(JSON.stringify({ url: status.url, key, tenantId, platformKey: settings.platformKey, curl: lines, startedNow }, null, 2));
    return;
  }
  const text = [
    '',
    `  Alcove is ${startedNow ? 'up' : 'up already'} at ${style.bold(status.url)}`,
    `  key of the tenant "development":  ${style.bold(key)}`,
    '',
    ...lines.map((line) => `${line}\n`),
    style.dim(`  The key is read with ./alcove up --json. API page: ${status.url}/docs (any key as the password). Development mode: the root key is a file`),
    style.dim(`  (${context.paths.rootKey}); whoever can read it can open every room.`),
    '',
  ];
  context.print(text.join('\n'));
}
