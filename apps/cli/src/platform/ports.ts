import { createServer } from 'node:net';
import type { Context } from '../context';
import { freePort } from '../embedded-postgres';
import { writeSettings, type Ports, type Settings } from '../home';

const names = ['postgres', 'keys', 'api', 'internal', 'host', 'edge'] as const;
/** Taken at first where nobody has it, because people will write it into configurations. */
const edgePort = 8443;

/** True when nobody listens on address:port and we may. */
export function isFree(port: number, address = '127.0.0.1'): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, address, () => server.close(() => resolve(true)));
  });
}

/**
 * The ports of this home: chosen free at first, then kept, so that a URL goes on working. One that another program has taken meanwhile is replaced, and that is said.
 * To be called only while the platform of this home is down.
 */
export async function settlePorts(context: Context, settings: Settings): Promise<Settings> {
  const ports: Partial<Ports> = {};
  for (const name of names) {
    const wanted = name === 'edge' ? (context.config.e2bDomain.port ?? undefined) : undefined;
    const address = name === 'edge' ? context.config.edge.address : undefined;
    const known = wanted ?? settings.ports?.[name];
    if (known !== undefined && (await isFree(known, address))) {
      ports[name] = known;
      continue;
    }
    const preferred = name === 'edge' && known === undefined && (await isFree(edgePort, address)) ? edgePort : null;
    ports[name] = preferred ?? (await freshPort(Object.values(ports)));
    if (known !== undefined) context.progress.warn(`port ${known} of ${name} is in use by another program: ${ports[name]} from now on`);
  }
  const settled: Settings = { ...settings, ports: ports as Ports };
  await writeSettings(context.paths, settled);
  return settled;
}

async function freshPort(taken: number[]): Promise<number> {
  for (;;) {
    const port = await freePort();
    if (!taken.includes(port)) return port;
  }
}
