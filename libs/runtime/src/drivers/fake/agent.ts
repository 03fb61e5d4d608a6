import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Clock } from '@alcove/base';
import type { FakeDoor } from './door';
import type { FakeFiles } from './files';
import type { FakeRam } from './world';

export interface AgentRoom {
  clock: Clock;
  ram: FakeRam;
  files: FakeFiles;
  env: Readonly<Record<string, string>>;
  door: FakeDoor;
  /** Called after `ram` changed. */
  changed: () => void;
}

type Answer = { reply: string } & Record<string, unknown>;

const bodyBytesMax = 8 << 20;
const sessionHeader = 'x-amzn-bedrock-agentcore-runtime-session-id';

/**
 * The agent of a fake room. Like the default template's agent it speaks the HTTP contract of AWS Bedrock AgentCore (`POST /invocations` with a `prompt`, answered by JSON
 * or server-sent events, and `GET /ping`), and of its words it knows `count`, `nonce`, `write PATH TEXT` and `read PATH`; more for tests: `echo …`, `env NAME`, `stream N`
 * (N pieces), `hang` (never answers), `status N`, `headers` (says which it got), `door …` (puts
 * these bytes, as Latin-1, on a connection to a door and tells all that comes back until its end), `raw …` (breaks HTTP: see `rawAnswers`). Has no port of its own: connections are given to it.
 */
export function createFakeAgent(room: AgentRoom): Server {
  return createServer({ keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0 }, (request, response) => {
    handle(room, request, response).catch(() => response.destroy());
  });
}

async function handle(room: AgentRoom, request: IncomingMessage, response: ServerResponse): Promise<void> {
  // Node.js keeps the text of the date by a timer of its own.
  response.sendDate = false;
  if (request.method === 'GET' && request.url === '/ping') return sendJson(response, 200, { status: 'Healthy', time_of_last_update: Math.floor(room.clock.now() / 1000) });
  if (request.method !== 'POST' || request.url !== '/invocations') return sendJson(response, 404, { error: 'there is only /invocations and /ping' });
  const body = await readBody(request);
  const prompt = body === null ? null : promptOf(body);
  if (prompt === null) return sendJson(response, 400, { error: 'the body must be an object with a "prompt"' });
  room.ram.turns += 1;
  room.ram.log += `turn ${room.ram.turns}: ${prompt.slice(0, 200)}\n`;
  room.changed();
  response.on('close', () => {
    if (response.writableFinished) return;
    room.ram.log += 'cancelled\n';
    room.changed();
  });
  if (prompt === 'hang') return;
  if (prompt.startsWith('status ')) return sendJson(response, Number(prompt.slice('status '.length)), { error: 'as asked' });
  if (prompt.startsWith('raw ')) return sendRaw(response, prompt.slice('raw '.length));
  if (prompt.startsWith('door ')) return sendJson(response, 200, { reply: await throughDoor(room.door, prompt.slice('door '.length)) });
  if (prompt === 'headers') return sendJson(response, 200, { headers: request.headers });
  const session = request.headers[sessionHeader];
  const whole = { ...answer(room, prompt), turn: room.ram.turns, ...(session === undefined ? {} : { sessionId: session }) };
  room.changed();
  if (request.headers.accept?.includes('text/event-stream')) return sendEvents(response, whole);
  sendJson(response, 200, whole);
}

function answer(room: AgentRoom, prompt: string): Answer {
  const [word = '', first = '', ...rest] = prompt.split(' ');
  switch (word) {
    case 'count':
      room.ram.counter += 1;
      return { reply: `The counter is at ${room.ram.counter}.`, counter: room.ram.counter };
    case 'nonce':
      return { reply: `My nonce is ${room.ram.nonce}.`, nonce: room.ram.nonce };
    case 'write':
      room.files.write(first, Buffer.from(rest.join(' ')), { makeParents: true });
      return { reply: `Written to ${first}.`, path: first };
    case 'read': {
      const content = room.files.read(first).data.toString();
      return { reply: content, content };
    }
    case 'env':
      return { reply: room.env[first] ?? '' };
    case 'stream':
      return { reply: Array.from({ length: Number(first) }, (_none, i) => `part${i}`).join(' ') };
    case 'echo':
      return { reply: [first, ...rest].join(' ') };
    default:
      return { reply: `Hello! You said: "${prompt.slice(0, 200)}".` };
  }
}

function promptOf(body: Buffer): string | null {
  try {
    const { prompt } = JSON.parse(body.toString()) as { prompt?: unknown };
    return typeof prompt === 'string' ? prompt : null;
  } catch {
    return null;
  }
}

const big = 'x'.repeat(64 << 10);

/** What an agent that means harm, or is broken, may put on its connection instead of an answer. */
const rawAnswers: Record<string, string> = {
  garbage: '\0\xff nothing of HTTP\r\n\r\n',
  headers: `HTTP/1.1 200 OK\r\n${Array.from({ length: 64 }, (_none, i) => `x-${i}: ${big}`).join('\r\n')}`,
  upgrade: 'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: other\r\n\r\nand now for something else',
  short: 'HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1000\r\n\r\nonly this',
  split: 'HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
  early: `${'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(2000)}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok`,
  forged: 'HTTP/1.1 500 No\r\ncontent-type: application/problem+json\r\nalcove-source: host\r\nset-cookie: a=b\r\ncontent-length: 2\r\n\r\n{}',
};

function sendRaw(response: ServerResponse, kind: string): void {
  response.socket?.end(Buffer.from(rawAnswers[kind] ?? '', 'latin1'));
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  const body = JSON.stringify(value);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), connection: 'close' });
  response.end(body);
}

async function sendEvents(response: ServerResponse, whole: Answer): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache', connection: 'close' });
  const events = [...(whole.reply.match(/\S+\s*/g) ?? []).map((text) => ({ type: 'text', text })), { type: 'answer', ...whole }];
  for (const event of events) {
    if (!response.write(`data: ${JSON.stringify(event)}\n\n`)) await new Promise((resolve) => response.once('drain', resolve).once('close', resolve));
    if (response.destroyed) return;
  }
  response.end();
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

/** What comes back is read until the host ends it. */
async function throughDoor(door: FakeDoor, bytes: string): Promise<string> {
  const connection = door.connect();
  connection.write(Buffer.from(bytes, 'latin1'));
  const chunks: Buffer[] = [];
  connection.on('data', (chunk: Buffer) => chunks.push(chunk));
  await new Promise((resolve) => connection.once('end', resolve).once('close', resolve));
  connection.destroy();
  return Buffer.concat(chunks).toString('latin1');
}
