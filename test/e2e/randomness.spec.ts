/** Clones of one template must share no randomness, whatever drew it, also after a resume. */
import { say, startPlatform, type Platform } from './platform';

jest.setTimeout(600_000);
const rooms = 8;
let platform: Platform;
beforeAll(async () => {
  platform = await startPlatform();
});
afterAll(() => platform?.destroy());

it(`gives ${rooms} rooms of one template nothing in common, before and after a sleep`, async () => {
  const ids: string[] = [];
  for (let n = 0; n < rooms; n++) ids.push((await platform.client.createRoom({ userId: `clone-${n}` })).id);
  const draw = async (id: string) => (await say(platform, id, 'random')).answer['random'] as Record<string, string>;
  const draws: Record<string, string>[] = [];
  for (const id of ids) draws.push(await draw(id));
  for (const id of ids) await platform.client.hibernate(id);
  const later: Record<string, string>[] = [];
  for (const id of ids) later.push(await draw(id));
  const sources = Object.keys(draws[0] ?? {});
  expect(sources).toEqual(expect.arrayContaining(['uuid', 'randomBytes', 'mathRandom', 'python', 'openssl', 'urandom', 'kernelUuid', 'machineId', 'bootNonce', 'bootId']));
  // What names the room stays through a sleep.
  const identity = ['machineId', 'bootNonce', 'bootId'];
  for (const source of sources) {
    const first = draws.map((drawn) => drawn[source]);
    const second = later.map((drawn) => drawn[source]);
    expect({ source, distinct: new Set(first).size }).toEqual({ source, distinct: rooms });
    if (identity.includes(source)) expect(second).toEqual(first);
    else expect({ source, distinct: new Set([...first, ...second]).size }).toEqual({ source, distinct: 2 * rooms });
  }
});
