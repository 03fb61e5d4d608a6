/** The edge as E2B's SDK meets it: through undici, the HTTP client that the SDK brings, in both protocols. */
import { createRequire } from 'node:module';
import { EdgeWorld, surface, surfaceToken } from './edge-harness';

interface Answer {
  status: number;
  text(): Promise<string>;
}
interface Undici {
  Agent: new (options: object) => { destroy(): Promise<void> };
  fetch(url: string, options: object): Promise<Answer>;
}
const { Agent, fetch } = createRequire(require.resolve('e2b'))('undici') as Undici;

const world = new EdgeWorld();
beforeAll(() => world.start());
afterAll(() => world.stop());
beforeEach(() => world.renew());

type Found = (error: null, address: string | { address: string; family: number }[], family?: number) => void;
const here = (_host: string, { all }: { all?: boolean }, found: Found): void => (all ? found(null, [{ address: '127.0.0.1', family: 4 }]) : found(null, '127.0.0.1', 4));

describe.each([
  ['HTTP/2', true],
  ['HTTP/1.1', false],
])('over %s', (_name, allowH2) => {
  let dispatcher: InstanceType<Undici['Agent']>;
  beforeAll(() => {
    dispatcher = new Agent({ allowH2, connect: { ca: world.ca, lookup: here } });
  });
  afterAll(() => dispatcher.destroy());
  const call = (path: string, options: object = {}): Promise<Answer> => fetch(`https://${surface}:${world.port}${path}`, { dispatcher, headers: { 'x-access-token': surfaceToken }, ...options });
  const post = (body: Buffer | string | ReadableStream, more: object = {}): Promise<Answer> => call('/files', { method: 'POST', body, duplex: 'half', ...more });

  it('large bodies and many small ones arrive whole', async () => {
    world.onSurface = (q, a) => {
      let bytes = 0;
      q.on('data', (chunk: Buffer) => (bytes += chunk.length));
      q.on('end', () => a.end(String(bytes)));
    };
    expect(await (await post(Buffer.alloc(5_000_000))).text()).toBe('5000000');
    const many = await Promise.all(Array.from({ length: 100 }, async () => (await post('{}')).text()));
    expect(new Set(many)).toEqual(new Set(['2']));
  });

  it('an answer that breaks off is "terminated", never a clean end, and then the room is not found', async () => {
    let end = (): void => undefined;
    world.onSurface = (_q, a) => {
      a.writeHead(200).write('first');
      end = () => a.destroy();
    };
    const answer = await call('/process.Process/Start');
    world.route = world.asleep({ reason: 'killed' });
    world.elsewhere = true;
    end();
    await expect(answer.text()).rejects.toThrow('terminated');
    const health = await call('/health');
    expect([health.status, JSON.parse(await health.text())]).toMatchObject([502, { message: 'The sandbox was not found', reason: 'killed' }]);
  });

  it('an answer that comes before the body was read is heard, from the host and from the edge', async () => {
    world.onSurface = (q, a) => {
      a.writeHead(413, { connection: 'close' }).end('{"code":413}');
      q.socket.end();
    };
    const endless = () => new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(1 << 16)) });
    for (const body of [Buffer.alloc(3 << 20), Buffer.alloc(3 << 20), endless()]) {
      const answer = await post(body);
      expect([answer.status, await answer.text()]).toEqual([413, '{"code":413}']);
    }
    for (const body of [Buffer.alloc(3 << 20), Buffer.alloc(3 << 20)]) expect((await post(body, { headers: { 'x-access-token': 'wrong' } })).status).toBe(401);
  });
});
