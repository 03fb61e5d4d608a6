import type { IncomingMessage } from 'node:http';
import { request, type Agent } from 'node:https';
import type { Duplex } from 'node:stream';
import { limits } from '@alcove/base';
import { edgePaths, isProblem, Problem } from '@alcove/contracts';
import type { TunnelRequest } from './host-client';

/**
 * Opens a tunnel: HTTP/1.1's Upgrade (RFC 9110, section 7.8) on a connection of its own, which then carries the port's bytes. `refusal` reads what the host answered
 * instead. Throws that; `host.unavailable` when the host cannot be reached in limits.host.connectTimeoutMs, `guest.closed` when it goes away before it answers.
 */
export function openTunnel(agent: Agent, path: string, asked: TunnelRequest, refusal: (answer: IncomingMessage) => Promise<Problem>): Promise<Duplex> {
  const { host, signal } = asked;
  return new Promise((resolve, reject) => {
    const headers = { connection: 'upgrade', upgrade: edgePaths.tunnelProtocol };
    const outgoing = request(new URL(path, host.url), { method: 'GET', headers, agent, servername: host.id, ...(signal ? { signal } : {}) });
    let connected = false;
    const timer = setTimeout(() => outgoing.destroy(new Error('connecting took too long')), limits.host.connectTimeoutMs);
    outgoing.once('socket', (socket) => {
      const done = (): void => {
        connected = true;
        clearTimeout(timer);
      };
      if (socket.connecting) socket.once('secureConnect', done);
      else done();
    });
    outgoing.once('upgrade', (_answer, socket, first) => {
      // What came with the answer is the port's already.
      if (first.length > 0) socket.unshift(first);
      signal?.addEventListener('abort', () => socket.destroy(), { once: true });
      resolve(socket);
    });
    outgoing.once('response', (answer) => {
      refusal(answer).then(reject, reject);
    });
    outgoing.on('error', (cause) => reject(isProblem(signal?.reason) && signal?.aborted ? signal.reason : new Problem(connected ? 'guest.closed' : 'host.unavailable', { cause })));
    outgoing.once('close', () => clearTimeout(timer));
    outgoing.end();
  });
}
