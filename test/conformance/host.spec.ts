import { RunningReport, SealedReport } from '@alcove/contracts';
import { HostProcess, readAnswer, roomName, runningOrder, sealedOrder } from './host-harness';

const host = new HostProcess();
const room = roomName();
const path = (incarnation: number, rest: string) => `/rooms/${room}/incarnations/${incarnation}/${rest}`;
const ask = (incarnation: number, prompt: string) => host.call('POST', path(incarnation, 'invocations'), { prompt });

beforeAll(async () => {
  await host.start();
  await host.ready();
});
afterAll(() => host.stop());

it('brings a room up, talks to its agent, seals it, and wakes it with its memory', async () => {
  const up = await host.call('PUT', path(1, 'running'), runningOrder());
  expect(up.status).toBe(200);
  expect(RunningReport.parse(up.json)).toMatchObject({ roomId: room, incarnation: 1, resumedFrom: 'new', fallbacks: [], isolation: 'software' });
  const before = (await ask(1, 'nonce')).json as { nonce: string; turn: number };
  const sealed = SealedReport.parse((await host.call('PUT', path(1, 'sealed'), sealedOrder())).json);
  const woken = await host.call('PUT', path(2, 'running'), runningOrder({ image: sealed.image, hasDisk: true }));
  expect(woken.json).toMatchObject({ incarnation: 2, resumedFrom: 'memory', fallbacks: [] });
  expect((await ask(2, 'nonce')).json).toMatchObject({ nonce: before.nonce, turn: before.turn + 1 });
});

it('streams events from the agent', async () => {
  const answer = await readAnswer(
    await host.send('POST', path(2, 'invocations'), { body: JSON.stringify({ prompt: 'stream 3' }), headers: { 'content-type': 'application/json', accept: 'text/event-stream' } }),
  );
  expect(answer.headers).toMatchObject({ 'content-type': 'text/event-stream', 'alcove-source': 'agent' });
  const events = answer.body.toString().split('\n\n').filter(Boolean).map((event) => JSON.parse(event.slice('data: '.length)) as object);
  expect(events).toMatchObject([{ text: 'part0 ' }, { text: 'part1 ' }, { text: 'part2' }, { type: 'answer', reply: 'part0 part1 part2' }]);
});
