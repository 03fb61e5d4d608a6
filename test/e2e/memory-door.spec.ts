/** The memory's door on real VMs: what programs and the agent in a room keep, find and forget there, and for whom. */
import type { Memory, MemoryAccessPage } from '@alcove/contracts';
import { exec, say, startPlatform, type Platform } from './platform';

jest.setTimeout(300_000);
let platform: Platform;
let ada: string;
let bob: string;
beforeAll(async () => {
  platform = await startPlatform();
  [ada, bob] = await Promise.all(['ada', 'bob'].map(async (userId) => (await platform.client.createRoom({ userId })).id)) as [string, string];
});
afterAll(() => platform?.destroy());

const door = 'http://memory.alcove.internal';
const json = "-H 'content-type: application/json'";
async function curl(room: string, rest: string): Promise<{ status: number; body: string }> {
  const { stdout, stderr } = await exec(platform, room, ['bash', '-c', `curl -sS --max-time 20 -w '\\n%{http_code}' ${rest}`]);
  const [, body = '', status = '0'] = /^([^]*)\n(\d+)$/.exec(stdout) ?? [];
  if (status === '0') throw new Error(`no answer: ${stdout}${stderr}`);
  return { status: Number(status), body };
}
const add = (room: string, value: object) => curl(room, `${json} -d '${JSON.stringify(value)}' ${door}/v1/memory`);
const search = async (room: string, query: string) => (JSON.parse((await curl(room, `${json} -d '${JSON.stringify({ query })}' ${door}/v1/memory/search`)).body) as { hits: { memory: Memory }[] }).hits.map(({ memory }) => memory.content);

it('keeps what a program says, for the user of the room and as no more than the agent’s word', async () => {
  const added = await add(ada, { kind: 'fact', content: 'The garden gate sticks in winter.', source: { kind: 'message', trust: 'user' } });
  expect(added.status).toBe(201);
  const { id, source } = JSON.parse(added.body) as Memory;
  expect(source.trust).toBe('agent');
  const seen = (await (await platform.client.call('GET', `/v1/users/ada/memory/${id}`)).json()) as Memory;
  expect(seen).toMatchObject({ userId: 'ada', content: 'The garden gate sticks in winter.', source: { trust: 'agent' } });
  expect(await search(ada, 'garden gate')).toEqual(['The garden gate sticks in winter.']);
  const { accesses } = (await (await platform.client.call('GET', '/v1/users/ada/memory/accesses')).json()) as MemoryAccessPage;
  expect(accesses).toContainEqual(expect.objectContaining({ actor: `room:${ada}`, purpose: 'room' }));
});

it('shows a room of another user nothing, whatever it asks', async () => {
  expect(await search(bob, 'garden gate')).toEqual([]);
  const { id } = JSON.parse((await add(ada, { kind: 'fact', content: 'Only for Ada.' })).body) as Memory;
  for (const [rest, status] of [
    [`${door}/v1/memory/${id}`, 404],
    [`-X DELETE '${door}/v1/memory/${id}?mode=erase'`, 404],
    [`'${door}/v1/memory?userId=ada'`, 400],
    [`-H 'x-user-id: ada' -H 'authorization: Bearer ${platform.key}' ${door}/v1/memory`, 200],
    [`${door}/v1/users/ada/memory`, 404],
    [`--path-as-is ${door}/v1/memory/../../users/ada/memory`, 404],
    [`-H 'host: api.alcove.internal' ${door}/v1/memory`, 404],
    [`-H 'content-length: 3' -H 'transfer-encoding: chunked' ${json} -d '{}' ${door}/v1/memory/search`, 400],
    [`${json} --data-binary @<(head -c 2000000 /dev/zero) ${door}/v1/memory/search`, 413],
    [`-X PATCH ${json} -d '{}' ${door}/v1/memory/${id}`, 405],
  ] as const) {
    const answer = await curl(bob, rest);
    expect({ rest, status: answer.status }).toEqual({ rest, status });
    expect(answer.body).not.toContain('Only for Ada');
  }
});

it('is an MCP server as well', async () => {
  const message = (method: string, params: object) => `-d '${JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })}' ${json} -H 'accept: application/json, text/event-stream' ${door}/mcp`;
  const first = JSON.parse((await curl(ada, message('initialize', { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'curl', version: '1' } }))).body) as { result: object };
  expect(first.result).toMatchObject({ protocolVersion: '2025-11-25', serverInfo: { name: 'alcove-memory' } });
  const told = JSON.parse((await curl(ada, message('tools/call', { name: 'recall', arguments: { query: 'garden gate' } }))).body) as { result: { content: { text: string }[] } };
  expect(told.result.content[0]?.text).toContain('(fact, trust: agent) The garden gate sticks in winter.');
});

it('is what the agent means by remember that, what do you know about, and forget; also after a sleep', async () => {
  expect((await say(platform, ada, 'remember that the cat is called Minka')).answer).toMatchObject({ reply: 'I will remember that the cat is called Minka' });
  const told = (await say(platform, ada, 'What do you know about Minka?')).answer;
  expect(told).toMatchObject({ reply: '- the cat is called Minka (I noted it)', memories: [{ content: 'the cat is called Minka' }] });
  expect((await say(platform, bob, 'what do you know about Minka?')).answer.reply).toBe('I know nothing about Minka.');
  expect((await platform.client.hibernate(ada)).state).toBe('hibernated');
  const woken = await say(platform, ada, 'what do you know about Minka?');
  expect(woken).toMatchObject({ resumedFrom: 'memory', answer: { reply: '- the cat is called Minka (I noted it)' } });
  await platform.client.call('POST', '/v1/users/ada/memory', { json: { kind: 'preference', content: 'I like Minka more than tea.', source: { kind: 'message', trust: 'user' } } });
  const forgotten = (await say(platform, ada, 'forget Minka')).answer.reply.split('\n');
  expect(new Set(forgotten)).toEqual(new Set(['I have forgotten:', '- the cat is called Minka', '- I like Minka more than tea. (hidden: you said it yourself, so only you can erase it)']));
  expect((await say(platform, ada, 'what do you know about Minka?')).answer.reply).toBe('I know nothing about Minka.');
  // Notes are files of the room, and stay what they are.
  await say(platform, ada, 'remember the key is under the mat');
  expect((await say(platform, ada, 'recall mat')).answer.reply).toBe('the key is under the mat');
  expect((await say(platform, ada, 'what do you know about mat?')).answer.reply).toBe('I know nothing about mat.');
});

it('ends what was open at a sleep, and is there again for a process that slept with its room', async () => {
  const script = `import http.client, os, time
connection = http.client.HTTPConnection('memory.alcove.internal', timeout=30)
def ask():
    connection.request('GET', '/v1/memory/usage')
    answer = connection.getresponse()
    answer.read()
    return answer.status
print(ask(), flush=True)
open('/tmp/asked', 'w').close()
while not os.path.exists('/tmp/woken'): time.sleep(0.05)
try:
    print(ask(), flush=True)
except OSError as error:
    print(type(error).__name__, flush=True)
connection.close()
print(ask(), flush=True)
`;
  await exec(platform, ada, `cat > /tmp/asks.py <<'END'\n${script}END`);
  await exec(platform, ada, 'nohup python3 /tmp/asks.py > /tmp/answers 2>&1 & while ! test -e /tmp/asked; do sleep 0.05; done');
  expect((await platform.client.hibernate(ada)).state).toBe('hibernated');
  await exec(platform, ada, 'touch /tmp/woken');
  const { stdout } = await exec(platform, ada, 'while [ $(wc -l < /tmp/answers) -lt 3 ]; do sleep 0.05; done; cat /tmp/answers', { timeoutMs: 60_000 });
  expect(stdout).toMatch(/^200\n(RemoteDisconnected|ConnectionResetError|BrokenPipeError)\n200\n$/);
});

it('leaves port 80 to the room, and the agent says so when memory cannot be reached', async () => {
  const served = await exec(platform, bob, 'cd /tmp && (python3 -m http.server 80 --bind 0.0.0.0 >/dev/null 2>&1 &) ; until curl -sS -o /dev/null http://127.0.0.1/ 2>/dev/null; do sleep 0.1; done; curl -s -o /dev/null -w "%{http_code}" http://127.0.0.1/', { timeoutMs: 60_000 });
  expect(served.stdout).toBe('200');
  expect((await curl(bob, `${door}/v1/memory/usage`)).status).toBe(200);
  const point = (from: string, to: string) => exec(platform, bob, `sed 's/^${from} memory/${to} memory/' /etc/hosts > /tmp/hosts && cat /tmp/hosts > /etc/hosts`, { user: 'root' });
  await point('127.0.0.80', '127.0.0.81');
  await exec(platform, bob, 'pkill -f http.server');
  expect((await say(platform, bob, 'remember that this is lost')).answer).toMatchObject({ failed: true, reply: expect.stringContaining('My long-term memory cannot be reached right now') as string });
  await point('127.0.0.81', '127.0.0.80');
  expect((await say(platform, bob, 'what do you know about this?')).answer.reply).toBe('I know nothing about this.');
});

it('does not let one room keep another from its memory', async () => {
  const flood = `import http.client, socket, threading
def idle():
    held = [socket.create_connection(('memory.alcove.internal', 80)) for _ in range(100)]
    for one in held: one.sendall(b'GET /v1/mem')
    return held
seen = {}
def ask():
    connection = http.client.HTTPConnection('memory.alcove.internal', timeout=20)
    for _ in range(100):
        try:
            connection.request('GET', '/v1/memory/usage')
            answer = connection.getresponse()
            answer.read()
            seen[answer.status] = seen.get(answer.status, 0) + 1
        except OSError as error:
            seen[type(error).__name__] = seen.get(type(error).__name__, 0) + 1
            connection.close()
threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
held = idle()
print(sorted(seen.items(), key=str))
open('/tmp/flooding', 'w').close()
threading.Event().wait(20)
`;
  await exec(platform, bob, `cat > /tmp/flood.py <<'END'\n${flood}END`);
  const flooding = exec(platform, bob, 'timeout 60 python3 /tmp/flood.py', { timeoutMs: 120_000 });
  await exec(platform, bob, 'until test -e /tmp/flooding; do sleep 0.1; done', { timeoutMs: 120_000 });
  expect((await curl(ada, `${door}/v1/memory/usage`)).status).toBe(200);
  expect((await flooding).stdout).toMatch(/\(200, \d+\).*\(429, \d+\)/);
});
