import { Agent, request } from 'node:https';
import { checkServerIdentity } from 'node:tls';
import { limits } from '@alcove/base';
import { type Heartbeat, HeartbeatAnswer, Problem } from '@alcove/contracts';
import type { TlsFiles } from './http/server';

/** The other side of the wall, as a host sees it. */
export interface ControlPlane {
  /** Rejects when the beat was not answered in a way that counts. */
  beat(beat: Heartbeat, signal: AbortSignal): Promise<HeartbeatAnswer>;
  close(): void;
}

const controlPlaneName = 'control-plane';

/** Over mutual TLS. The server must be the control plane by name: another host's certificate is of the same authority. */
export function httpsControlPlane(url: string, hostId: string, tls: TlsFiles): ControlPlane {
  const agent = new Agent({
    ...tls,
    keepAlive: true,
    maxSockets: 2,
    minVersion: 'TLSv1.3',
    checkServerIdentity: (host, certificate) =>
      checkServerIdentity(host, certificate) ?? (certificate.subject.CN === controlPlaneName ? undefined : new Error('the certificate is not the control plane’s')),
  });
  const target = new URL(`/internal/hosts/${encodeURIComponent(hostId)}/heartbeat`, url);
  return { beat: (beat, signal) => post(target, agent, beat, signal), close: () => agent.destroy() };
}

function post(target: URL, agent: Agent, beat: Heartbeat, signal: AbortSignal): Promise<HeartbeatAnswer> {
  const body = Buffer.from(JSON.stringify(beat));
  return new Promise((resolve, reject) => {
    const failed = (cause: unknown) => reject(new Problem('unavailable', { cause }));
    const outgoing = request(target, { agent, method: 'POST', signal, headers: { 'content-type': 'application/json', 'content-length': body.length } }, (answer) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      answer.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > limits.host.reportBytes) return answer.destroy(new Error('the answer to a beat is too large'));
        chunks.push(chunk);
      });
      answer.on('error', failed);
      answer.on('end', () => {
        if (answer.statusCode !== 200 && answer.statusCode !== 201) return failed(new Error(`status ${answer.statusCode}: ${Buffer.concat(chunks).toString().slice(0, 500)}`));
        try {
          resolve(HeartbeatAnswer.parse(JSON.parse(Buffer.concat(chunks).toString())));
        } catch (error) {
          failed(error);
        }
      });
    });
    outgoing.on('error', failed);
    outgoing.end(body);
  });
}
