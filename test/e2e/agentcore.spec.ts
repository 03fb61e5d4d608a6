/**
 * An agent written for AWS Bedrock AgentCore Runtime, with Amazon's own package and as its README and its types say, runs in a room unchanged.
 * The HTTP contract: https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-http-protocol-contract.html
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ApiProblem, serverSentEvents, type ServerSentEvent } from '../../apps/cli/src/api-client';
import { exec, startPlatform, until, type Platform } from './platform';
import { testConfig } from './e2e.config';

const sessionHeader = 'x-amzn-bedrock-agentcore-runtime-session-id';
const customHeader = 'x-amzn-bedrock-agentcore-runtime-custom-colour';
const session = 'session-of-the-agentcore-contract-0001';

const recipe = {
  name: 'agentcore',
  start: ['node', '/opt/agent/agent.mjs'],
  onFork: ['sh', '-c', 'head -c 8 /dev/urandom | od -An -tx1 > renewed'],
  npmPackages: ['bedrock-agentcore@0.4.4'],
  files: [{ from: 'agent.mjs', to: '/opt/agent/agent.mjs' }],
};

/** `tell` streams a word for every `go on`; `think` is work in the background until `stop thinking`; all the rest is answered with JSON. */
const agent = `
import { BedrockAgentCoreApp } from 'bedrock-agentcore/runtime'
import { z } from 'zod'

const heard = []
let tales = 0
let goOn = () => {}
let stopThinking = () => {}

async function* tell(words) {
  tales++
  try {
    for (const text of words) {
      if (text === '!') throw new Error('lost the thread')
      yield { event: 'message', data: { text } }
      await new Promise((resolve) => (goOn = resolve))
    }
  } finally {
    tales--
  }
}

const app = new BedrockAgentCoreApp({
  invocationHandler: {
    requestSchema: z.object({ prompt: z.string() }),
    process: async (request, context) => {
      const [word, ...words] = request.prompt.split(' ')
      if (word === 'tell') return tell(words)
      if (word === 'fail') throw new Error('the model has no answer')
      if (request.prompt === 'go on') goOn()
      if (request.prompt === 'stop thinking') stopThinking()
      if (word === 'think') void think()
      heard.push(request.prompt)
      return { heard, tales, sessionId: context.sessionId, headers: context.headers }
    },
  },
})

const think = app.asyncTask(async function think() {
  await new Promise((resolve) => (stopThinking = resolve))
})

app.run()
`;

interface AgentSays {
  heard: string[];
  tales: number;
  sessionId: string;
  headers: Record<string, string>;
}

jest.setTimeout(900_000);
let platform: Platform;
let folder: string;
let room: string;

beforeAll(async () => {
  platform = await startPlatform();
  folder = await mkdtemp(join(testConfig().temporary, 'alcove-agentcore-'));
  await writeFile(join(folder, 'alcove.template.json'), JSON.stringify(recipe));
  await writeFile(join(folder, 'agent.mjs'), agent);
  const built = await platform.alcove('template', 'build', folder, '--yes', '--json');
  if (built.code !== 0) throw new Error(`./alcove template build ended with ${built.code}:\n${built.stderr}`);
  room = await until('the host offers the template', newRoom);
});
afterAll(async () => {
  await platform?.destroy();
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** Nothing while no host has the template yet. */
async function newRoom(): Promise<string | undefined> {
  try {
    return (await platform.client.createRoom({ userId: 'ada', template: recipe.name })).id;
  } catch (error) {
    if (error instanceof ApiProblem && error.code === 'template.not_found') return undefined;
    throw error;
  }
}

/** Unlike the client of the command line, takes an answer of any status as the answer that it is. */
function post(body: unknown, more: { headers?: Record<string, string>; signal?: AbortSignal } = {}): Promise<Response> {
  const headers = { authorization: `Bearer ${platform.key}`, 'content-type': 'application/json', [sessionHeader]: session, ...more.headers };
  return fetch(`${platform.url}/v1/rooms/${room}/invocations`, { method: 'POST', headers, body: JSON.stringify(body), ...(more.signal && { signal: more.signal }) });
}

async function ask(prompt: string, headers: Record<string, string> = {}): Promise<AgentSays> {
  const answer = await post({ prompt }, { headers });
  expect(answer.status).toBe(200);
  expect(answer.headers.get('content-type')).toMatch(/^application\/json/);
  return (await answer.json()) as AgentSays;
}

/** Begins a tale and gives its events one by one. */
async function listen(prompt: string, signal?: AbortSignal): Promise<() => Promise<ServerSentEvent | undefined>> {
  const answer = await post({ prompt }, { headers: { accept: 'text/event-stream' }, ...(signal && { signal }) });
  expect(answer.status).toBe(200);
  expect(answer.headers.get('content-type')).toMatch(/^text\/event-stream/);
  const events = serverSentEvents(answer);
  return async () => (await events.next()).value as ServerSentEvent | undefined;
}

/** What the agent says of itself, asked where the platform asks. */
async function health(): Promise<{ status: string; time_of_last_update: number }> {
  const { stdout } = await exec(platform, room, ['curl', '-fsS', 'http://127.0.0.1:8080/ping']);
  return JSON.parse(stdout) as { status: string; time_of_last_update: number };
}

it('answers with JSON and knows the session and its headers, but not the key', async () => {
  const says = await ask('hello', { [customHeader]: 'blue', 'x-private': 'no' });
  expect(says).toEqual({ heard: ['hello'], tales: 0, sessionId: session, headers: { [customHeader]: 'blue' } });
});

it('streams: every part is there before the agent makes the next', async () => {
  const next = await listen('tell once upon');
  for (const text of ['once', 'upon']) {
    expect(await next()).toMatchObject({ event: 'message', data: JSON.stringify({ text }) });
    expect((await ask('go on')).tales).toBe(1);
  }
  expect(await next()).toBeUndefined();
  expect((await ask('hello')).tales).toBe(0);
});

it('gives back the agent’s own errors as they are', async () => {
  const failed = await post({ prompt: 'fail' });
  expect([failed.status, await failed.json()]).toEqual([500, { error: 'the model has no answer' }]);
  const refused = await post({ question: 'fail' });
  expect([refused.status, await refused.json()]).toMatchObject([400, { error: 'Invalid request body format', details: [{ path: ['prompt'] }] }]);
  const next = await listen('tell once !');
  expect(await next()).toMatchObject({ event: 'message' });
  await ask('go on');
  expect(await next()).toMatchObject({ event: 'error', data: JSON.stringify({ error: 'lost the thread' }) });
  expect(await next()).toBeUndefined();
});

it('ends a tale that nobody listens to any more', async () => {
  const leaving = new AbortController();
  const next = await listen('tell once upon a time', leaving.signal);
  await next();
  leaving.abort();
  await until('the agent has ended it', async () => (await ask('go on')).tales === 0);
});

it('sleeps and wakes with its memory, and with work that it does in the background', async () => {
  const before = await ask('think');
  const { status, time_of_last_update: since } = await health();
  expect(status).toBe('HealthyBusy');
  await platform.client.hibernate(room);
  const answer = await post({ prompt: 'remember' });
  expect(answer.headers.get('alcove-resumed-from')).toBe('memory');
  expect(await answer.json()).toMatchObject({ heard: [...before.heard, 'remember'], sessionId: session });
  expect(await health()).toEqual({ status: 'HealthyBusy', time_of_last_update: since });
  await ask('stop thinking');
  expect((await health()).status).toBe('Healthy');
});

it('is copied: the copy knows what was said, runs what its template says for copies, and comes with a warning', async () => {
  await ask('before the copy');
  const answer = await platform.client.call('POST', `/v1/rooms/${room}/forks`, { json: { count: 2, timeoutMs: 600_000 } });
  const { forks } = (await answer.json()) as { forks: { room: { id: string }; warnings: string[] }[] };
  expect(forks).toMatchObject(Array(2).fill({ room: { state: 'running' } }));
  const renewed: string[] = [];
  for (const { room: fork, warnings } of forks) {
    expect(warnings.join()).toContain('safe to copy');
    const said = await exec(platform, fork.id, 'cat renewed');
    expect(said).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^( [0-9a-f]{2}){8}\n$/) });
    renewed.push(said.stdout);
    const heard = await platform.client.json<AgentSays>('POST', `/v1/rooms/${fork.id}/invocations`, { prompt: 'in the copy' });
    expect(heard.heard.slice(-2)).toEqual(['before the copy', 'in the copy']);
  }
  expect(new Set(renewed).size).toBe(2);
  expect((await exec(platform, room, 'cat renewed')).exitCode).toBe(1);
});
