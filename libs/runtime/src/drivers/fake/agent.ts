import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Clock } from '@alcove/base';
import type { FakeRam } from './world';

export interface AgentRoom {
  clock: Clock;
  ram: FakeRam;
  env: Readonly<Record<string, string>>;
  /** Called after `ram` changed. */
  changed: () => void;
}

const bodyBytesMax = 8 << 20;

/**
 * The agent of a fake room: the HTTP contract of AWS Bedrock AgentCore (`POST /invocations`, `GET /ping`) and of the default agent's words `count`, `nonce`
 * and `echo …`, plus some for tests: `env NAME`, `stream N`, `hang` (never answers), `status N`, `headers`. Has no timer and no port of its own: connections are given to it.
 */
export function createFakeAgent(room: AgentRoom): Server {
  const server = createServer({ keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0 }, (request, response) => {
    handle(room, request, response).catch(() => response.destroy());
  });
  return server;
}

async function handle(room: AgentRoom, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method === 'GET' && request.url === '/ping') return sendJson(response, 200, { status: 'Healthy', time_of_last_update: Math.floor(room.clock.now() / 1000) });
  if (request.method !== 'POST' || request.url !== '/invocations') return sendJson(response, 404, { error: 'not found' });
  const body = await readBody(request);
  if (body === null) return sendJson(response, 413, { error: 'too large' });
  const prompt = promptOf(body);
  room.ram.count += 1;
  room.ram.log += `invocation ${room.ram.count}: ${prompt.slice(0, 200)}\n`;
  room.changed();
  response.on('close', () => {
    if (response.writableFinished) return;
    room.ram.log += 'cancelled\n';
    room.changed();
  });
  if (prompt === 'hang') return;
  if (prompt.startsWith('status ')) return sendJson(response, Number(prompt.slice(7)), { error: 'as asked' });
  if (prompt === 'headers') return sendJson(response, 200, { headers: request.headers });
  const words = answer(room, prompt);
  if (request.headers.accept?.includes('text/event-stream')) return sendEvents(response, words);
  sendJson(response, 200, { result: words.join(' '), count: room.ram.count, nonce: room.ram.nonce });
}

function answer(room: AgentRoom, prompt: string): string[] {
  const [word = '', ...rest] = prompt.split(' ');
  if (word === 'count') return [String(room.ram.count)];
  if (word === 'nonce') return [room.ram.nonce];
  if (word === 'env') return [room.env[rest[0] ?? ''] ?? ''];
  if (word === 'stream') return Array.from({ length: Number(rest[0] ?? 1) }, (_none, i) => `part${i}`);
  return word === 'echo' ? rest : prompt.split(' ');
}

function promptOf(body: Buffer): string {
  try {
    const parsed = JSON.parse(body.toString()) as { prompt?: unknown };
    return typeof parsed.prompt === 'string' ? parsed.prompt : '';
  } catch {
    return body.toString().slice(0, 1000);
  }
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  const body = JSON.stringify(value);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), connection: 'close' });
  response.end(body);
}

async function sendEvents(response: ServerResponse, words: string[]): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream', connection: 'close' });
  for (const word of words) {
    if (!response.write(`data: ${JSON.stringify({ text: word })}\n\n`)) await new Promise((resolve) => response.once('drain', resolve).once('close', resolve));
    if (response.destroyed) return;
  }
  response.end('data: {"done":true}\n\n');
}

async function readBody(request: IncomingMessage): Promise<Buffer | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bodyBytesMax) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
