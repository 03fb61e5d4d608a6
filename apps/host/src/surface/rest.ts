import { percentOfAll } from '@alcove/contracts';
import { sendJson } from '../http/answer';
import { readSmallFile } from '../services/files';
import type { Call } from './call';
import { download } from './download';
import { upload } from './upload';

/** What is not an RPC, by method and path. Control routes of E2B's agent (`/init`, `/freeze` …) are not here on purpose: they are the host's business. */
export const restCalls: Record<string, (call: Call) => Promise<void>> = {
  'GET health': async ({ exchange: { response } }) => void response.writeHead(204, { 'cache-control': 'no-store' }).end(),
  'GET files': download,
  'POST files': upload,
  'GET metrics': metrics,
  'GET envs': envs,
};

/** Bytes and seconds; the processors' use in percent of all of them. */
async function metrics({ parts, room, exchange: { response } }: Call): Promise<void> {
  const now = await parts.figures.now(room);
  response.setHeader('cache-control', 'no-store');
  sendJson(response, 200, {
    ts: Math.floor(Date.parse(now.at) / 1000),
    cpu_count: now.cpuCount,
    cpu_used_pct: percentOfAll(now),
    mem_total: now.memTotal,
    mem_used: now.memUsed,
    mem_cache: now.memCache,
    disk_used: now.diskUsed,
    disk_total: now.diskTotal,
  });
}

const envBytesMax = 1 << 20;

/** The room's own variables, as the guest was given them: `NAME=value`, each ended by a zero byte. */
async function envs({ guest, signal, exchange: { response } }: Call): Promise<void> {
  const text = (await readSmallFile(guest, '/run/alcove/env', envBytesMax, signal)) ?? '';
  const pairs = text.split('\0').flatMap((line) => {
    const at = line.indexOf('=');
    return at < 1 ? [] : [[line.slice(0, at), line.slice(at + 1)] as const];
  });
  response.setHeader('cache-control', 'no-store');
  sendJson(response, 200, Object.fromEntries(pairs));
}
