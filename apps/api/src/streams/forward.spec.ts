import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { askThrough } from './forward';

it('ends a request whose answer is another protocol that nobody asked for', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: anything\r\n\r\n'));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  try {
    const asked = askThrough(socket, { method: 'GET', port: 8080, path: '/', headers: {}, signal: new AbortController().signal });
    await expect(asked).rejects.toMatchObject({ code: 'guest.protocol' });
    expect(socket.destroyed).toBe(true);
  } finally {
    socket.destroy();
    server.close();
  }
});
