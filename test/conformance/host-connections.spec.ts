import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { silentLog } from '@alcove/base';
import { createHostServer } from '../../apps/host/src/http/server';
import { readIdentity, TestAuthority } from './host-certificates';

it('keeps places for the control plane, however many connections the edge makes', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'alcove-connections-'));
  const authority = new TestAuthority(folder);
  const named = (name: string) => readIdentity(authority.issue(name));
  const [server, edge, control] = [named('host'), named('edge'), named('control-plane')] as const;
  const most = 3;
  const host = createHostServer(server, { routes: [{ method: 'GET', path: '/state', alsoFor: 'edge', handle: async ({ response }) => void response.writeHead(204).end() }], log: silentLog, observe: () => undefined }, most).listen(0, '127.0.0.1');
  const kept: TLSSocket[] = [];
  try {
    await once(host, 'listening');
    const { port } = host.address() as AddressInfo;
    const knock = async () => {
      const socket = connect({ port, host: '127.0.0.1', ...edge });
      kept.push(socket);
      socket.on('error', () => undefined);
      await once(socket, 'secureConnect');
      return socket;
    };
    const answered = async (socket: TLSSocket) => {
      socket.write('GET /state HTTP/1.1\r\nhost: host\r\n\r\n');
      return Promise.race([once(socket, 'data').then(([data]) => String(data)), once(socket, 'close').then(() => '')]);
    };
    for (let i = 0; i < most; i += 1) expect(await answered(await knock())).toMatch(/^HTTP\/1.1 204/);
    // Said, not merely cut: the room behind it may well run.
    const surplus = await answered(await knock());
    expect(surplus).toMatch(/^HTTP\/1.1 429/);
    expect(surplus).toContain('alcove-room: busy');
    await once(kept.at(-1) as TLSSocket, 'close');
    const asked = request({ port, host: '127.0.0.1', path: '/state', ...control, agent: false }).end();
    const [answer] = (await once(asked, 'response')) as [{ statusCode: number }];
    expect(answer.statusCode).toBe(204);
    const [first] = kept;
    first?.destroy();
    for (;;) if ((await answered(await knock())).startsWith('HTTP/1.1 204')) break;
  } finally {
    for (const socket of kept) socket.destroy();
    host.close();
    host.closeAllConnections();
    rmSync(folder, { recursive: true, force: true });
  }
});
