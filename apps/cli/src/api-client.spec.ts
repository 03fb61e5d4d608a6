import fc from 'fast-check';
import { serverSentEvents, type ServerSentEvent } from './api-client';

async function parse(text: string, cuts: number[] = []): Promise<ServerSentEvent[]> {
  const bytes = new TextEncoder().encode(text);
  const places = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      let from = 0;
      for (const to of places) {
        if (to > from) controller.enqueue(bytes.slice(from, to));
        from = Math.max(from, to);
      }
      controller.close();
    },
  });
  const events: ServerSentEvent[] = [];
  for await (const event of serverSentEvents(new Response(body))) events.push(event);
  return events;
}

it('reads events, joins lines, keeps the last id, skips comments', async () => {
  const events = await parse(': hello\n\nevent: state\nid: 7\ndata: {"a":1}\n\ndata: one\ndata: two\n\n');
  expect(events).toEqual([
    { event: 'state', data: '{"a":1}', id: '7' },
    { event: 'message', data: 'one\ntwo', id: '7' },
  ]);
});

it('does not care where the network cuts the bytes', async () => {
  const text = 'event: stdout\ndata: {"data":"héllo ☂"}\nid: 1\n\ndata: x\n\n';
  const whole = await parse(text);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(200), { maxLength: 8 }), async (cuts) => {
      expect(await parse(text, cuts)).toEqual(whole);
    }),
    { seed: 20260103 },
  );
});
