import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { systemClock } from '@alcove/base';
import type { ExecEvent } from '@alcove/contracts';
import { WebSocket, WebSocketServer } from 'ws';
import { Terminal } from './terminal';

const never = new Promise<never>(() => undefined);

async function* nothing(until: Promise<unknown>): AsyncGenerator<ExecEvent> {
  await until;
}

it.each([
  ['sizes', JSON.stringify({ resize: { cols: 80, rows: 24 } })],
  ['nothing at all', Buffer.alloc(0)],
])('is not read from while a room takes nothing, also when its caller sends %s', async (_what, message) => {
  const count = 50_000;
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  await once(server, 'listening');
  const caller = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const [connection] = (await once(server, 'connection')) as [WebSocket];
  try {
    let heard = 0;
    connection.on('message', () => (heard += 1));
    const closed = once(connection, 'close');
    const running = new Terminal(connection, { pid: 1, output: nothing(closed), write: () => never, resize: () => never }, systemClock).run(new AbortController().signal);
    await once(caller, 'message');
    for (let i = 0; i < count; i += 1) caller.send(message);
    while (!connection.isPaused && heard < count) await new Promise(setImmediate);
    expect(connection.isPaused).toBe(true);
    connection.terminate();
    await running;
  } finally {
    caller.terminate();
    server.close();
  }
});
