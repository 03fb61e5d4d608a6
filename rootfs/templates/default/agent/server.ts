// The contract of AWS Bedrock AgentCore Runtime: POST /invocations (JSON, or server-sent events) and GET /ping.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-http-protocol-contract.html
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { claimFact, lookAtClaim } from './claim.ts';
import { type Answer, answer } from './commands.ts';
import { Memory } from './memory.ts';

const SESSION_HEADER = 'x-amzn-bedrock-agentcore-runtime-session-id';
const MAX_BODY_BYTES = 8 * 1024 * 1024;

/** An error of the caller, with its HTTP status. */
class BadRequest extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

interface Invocation {
  prompt: string;
  stream: boolean;
  sessionId: string;
}

let memory = new Memory();
let memoryOf = '';
let busy = 0;
let lastUpdate = 0;

/** Answers `/ping` with HealthyBusy until `preparation` is over. */
export async function startServer({ host, port }: { host: string; port: number }, preparation: (port: number) => Promise<void>): Promise<void> {
  const server = createServer((request, response) => {
    lookAtClaim();
    beOfThisRoom();
    handle(request, response).catch((error: unknown) => sendFailure(response, error));
  });
  // An agent's answer takes as long as it takes; who asked decides when to give up.
  server.requestTimeout = 0;
  busy += 1;
  await new Promise<void>((resolve) => server.listen(port, host, resolve));
  await preparation(port);
  busy -= 1;
}

/** What was said before the room's first claim was said in the template, and is nobody's. A later one makes a copy of the room, which remembers what the room knew. */
function beOfThisRoom(): void {
  const bootNonce = claimFact('bootNonce');
  if (bootNonce === memoryOf) return;
  if (memoryOf === '') memory = new Memory();
  memoryOf = bootNonce;
}

async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = (request.url ?? '').split('?')[0];
  if (path === '/ping') {
    allowOnly(request, 'GET');
    sendJson(response, 200, { status: busy > 0 ? 'HealthyBusy' : 'Healthy', time_of_last_update: lastUpdate || unixTime() });
  } else if (path === '/invocations') {
    allowOnly(request, 'POST');
    await invoke(request, response);
  } else {
    throw new BadRequest(404, 'there is only /invocations and /ping');
  }
}

function allowOnly(request: IncomingMessage, method: string): void {
  if (request.method !== method) throw new BadRequest(405, `use ${method}`);
}

async function invoke(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const invocation = parse(request, await readBody(request));
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  busy += 1;
  lastUpdate = unixTime();
  try {
    if (invocation.stream) await stream(invocation, response, gone.signal);
    else sendJson(response, 200, await respond(invocation, gone.signal, () => {}));
  } finally {
    busy -= 1;
    lastUpdate = unixTime();
  }
}

/** One turn of the conversation. */
async function respond({ prompt, sessionId }: Invocation, signal: AbortSignal, onText: (text: string) => void): Promise<Answer> {
  const mine = memory;
  mine.turns += 1;
  const turn = mine.turns;
  let given: Answer;
  try {
    given = await answer({ prompt, memory: mine, signal, onText });
  } catch (error) {
    given = { reply: `That did not work: ${error instanceof Error ? error.message : String(error)}`, failed: true };
  }
  mine.keepTurn(prompt, given.reply);
  return { ...given, turn, ...(sessionId === '' ? {} : { sessionId }) };
}

/** Server-sent events: `{"type":"text","text"}` as the answer grows, then `{"type":"answer", …}` with all of it. */
async function stream(invocation: Invocation, response: ServerResponse, signal: AbortSignal): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
  response.flushHeaders();
  const send = (event: object): void => void response.write(`data: ${JSON.stringify(event)}\n\n`);
  let told = false;
  const whole = await respond(invocation, signal, (text) => {
    told = true;
    send({ type: 'text', text });
  });
  if (!told) for (const text of whole.reply.match(/\S+\s*/g) ?? []) send({ type: 'text', text });
  send({ type: 'answer', ...whole });
  response.end();
}

function parse(request: IncomingMessage, body: string): Invocation {
  let input: unknown;
  try {
    input = JSON.parse(body);
  } catch {
    throw new BadRequest(400, 'the body is not JSON');
  }
  if (typeof input !== 'object' || input === null || !('prompt' in input) || typeof input.prompt !== 'string') {
    throw new BadRequest(400, 'the body must be an object with a "prompt"');
  }
  const wantsEvents = (request.headers.accept ?? '').includes('text/event-stream');
  return {
    prompt: input.prompt,
    stream: wantsEvents || ('stream' in input && input.stream === true),
    sessionId: String(request.headers[SESSION_HEADER] ?? ''),
  };
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_BODY_BYTES) throw new BadRequest(413, 'the body is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function sendJson(response: ServerResponse, status: number, value: object): void {
  const body = JSON.stringify(value);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

function sendFailure(response: ServerResponse, error: unknown): void {
  const status = error instanceof BadRequest ? error.status : 500;
  if (status === 500) console.error(error);
  if (response.headersSent) response.destroy();
  else sendJson(response, status, { error: error instanceof Error ? error.message : 'unknown' });
}

function unixTime(): number {
  return Math.floor(Date.now() / 1000);
}
