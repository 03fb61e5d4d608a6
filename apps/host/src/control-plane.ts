import { Agent, request } from 'node:https';
import { checkServerIdentity } from 'node:tls';
import { limits } from '@alcove/base';
import { DoorAnswer, type DoorCall, doorPath, type Heartbeat, HeartbeatAnswer, Problem } from '@alcove/contracts';
import type { RoomKey } from '@alcove/runtime';
import type { TlsFiles } from './http/server';

/** The other side of the wall, as a host sees it. */
export interface ControlPlane {
  /** Rejects when the beat was not answered in a way that counts. */
  beat(beat: Heartbeat, signal: AbortSignal): Promise<HeartbeatAnswer>;
  /** What a program in that room asks for. Rejects with `unavailable` when the control plane did not answer, or refuses to hear this host for that room. */
  door(room: RoomKey, call: DoorCall, signal: AbortSignal): Promise<DoorAnswer>;
  close(): void;
}

const controlPlaneName = 'control-plane';
/** JSON may need six characters for one of a body's. */
const doorCallBytes = 6 * limits.doors.answerBytes;

/** Over mutual TLS. The server must be the control plane by name: another host's certificate is of the same authority. */
export function httpsControlPlane(url: string, hostId: string, tls: TlsFiles): ControlPlane {
  const agentOf = (maxSockets: number) =>
    new Agent({
      ...tls,
      keepAlive: true,
      maxSockets,
      minVersion: 'TLSv1.3',
      checkServerIdentity: (host, certificate) =>
        checkServerIdentity(host, certificate) ?? (certificate.subject.CN === controlPlaneName ? undefined : new Error('the certificate is not the control plane’s')),
    });
  // Of its own: what rooms ask for must not stand in front of a beat.
  const [beats, doors] = [agentOf(2), agentOf(limits.doors.atOnce)];
  const target = new URL(`/internal/hosts/${encodeURIComponent(hostId)}/heartbeat`, url);
  return {
    beat: async (beat, signal) => HeartbeatAnswer.parse(await post({ target, agent: beats, answerBytes: limits.host.reportBytes }, beat, signal)),
    door: async ({ roomId, incarnation }, call, signal) => {
      const answered = await post({ target: new URL(doorPath(hostId, roomId, incarnation), url), agent: doors, answerBytes: doorCallBytes }, call, signal);
      return DoorAnswer.parse(answered);
    },
    close: () => {
      beats.destroy();
      doors.destroy();
    },
  };
}

function post({ target, agent, answerBytes }: { target: URL; agent: Agent; answerBytes: number }, value: unknown, signal: AbortSignal): Promise<unknown> {
  const body = Buffer.from(JSON.stringify(value));
  return new Promise((resolve, reject) => {
    const failed = (cause: unknown) => reject(new Problem('unavailable', { cause }));
    const outgoing = request(target, { agent, method: 'POST', signal, headers: { 'content-type': 'application/json', 'content-length': body.length } }, (answer) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      answer.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > answerBytes) return answer.destroy(new Error('the answer is too large'));
        chunks.push(chunk);
      });
      answer.on('error', failed);
      answer.on('end', () => {
        if (answer.statusCode !== 200 && answer.statusCode !== 201) return failed(new Error(`status ${answer.statusCode}: ${Buffer.concat(chunks).toString().slice(0, 500)}`));
        try {
          resolve(JSON.parse(Buffer.concat(chunks).toString()));
        } catch (error) {
          failed(error);
        }
      });
    });
    outgoing.on('error', failed);
    outgoing.end(body);
  });
}
