import { Agent, request } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { limits } from '@alcove/base';
import { edgePaths, EdgeRoute, Problem, problemCodes, type ProblemBody, type TlsIdentity } from '@alcove/contracts';
import { identityOptions } from './upstream';

/** What the edge asks of the control plane. */
export interface ControlPlane {
  /** Where a room is and what opens it. Rejects with Problem `unavailable` when there is no answer. */
  route(roomId: string): Promise<EdgeRoute>;
  /** Wakes a room that wakes by itself; resolves once it runs. Rejects with the Problem that stood in the way. */
  wake(roomId: string): Promise<EdgeRoute>;
  close(): void;
}

const controlPlaneName = 'control-plane';
const wakeMs = limits.move.wakeWaitMs + 5_000;

/** Over mutual TLS, on connections that are kept. The server must be the control plane by name. */
export function httpsControlPlane(url: string, tls: TlsIdentity): ControlPlane {
  const agentFor = (maxSockets: number) => new Agent({ ...identityOptions(tls), keepAlive: true, maxFreeSockets: 16, maxSockets });
  // A wake takes its time: questions do not wait behind it.
  const [questions, wakes] = [agentFor(limits.edge.questions), agentFor(limits.edge.wakes)];
  const ask = (path: string, roomId: string, ms: number, agent: Agent) => post({ target: new URL(path, url), agent, body: Buffer.from(JSON.stringify({ roomId })), ms });
  return {
    route: (roomId) => ask(edgePaths.route, roomId, limits.edge.askMs, questions),
    wake: (roomId) => ask(edgePaths.wake, roomId, wakeMs, wakes),
    close: () => [questions, wakes].forEach((agent) => agent.destroy()),
  };
}

interface Question {
  readonly target: URL;
  readonly agent: Agent;
  readonly body: Buffer;
  readonly ms: number;
}

function post({ target, agent, body, ms }: Question): Promise<EdgeRoute> {
  return new Promise((resolve, reject) => {
    const failed = (cause: unknown): void => reject(new Problem('unavailable', { cause }));
    const headers = { 'content-type': 'application/json', 'content-length': body.length };
    const outgoing = request(target, { agent, method: 'POST', headers, servername: controlPlaneName, signal: AbortSignal.timeout(ms) }, (answer) => {
      readAnswer(answer).then((text) => settle(answer.statusCode ?? 0, text)).then(resolve, (error: unknown) => (error instanceof Problem ? reject(error) : failed(error)));
    });
    outgoing.on('error', failed);
    outgoing.end(body);
  });
}

function settle(status: number, text: string): EdgeRoute {
  const value: unknown = JSON.parse(text);
  if (status >= 200 && status < 300) return EdgeRoute.parse(value);
  const { code, detail } = value as Partial<ProblemBody>;
  if (code === undefined || !Object.hasOwn(problemCodes, code)) throw new Error(`status ${status}`);
  throw new Problem(code, typeof detail === 'string' ? { detail } : {});
}

async function readAnswer(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > limits.edge.answerBytes) throw new Error('the answer is too large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
