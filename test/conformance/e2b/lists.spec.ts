/** Sandbox.list as the SDK pins it down: order, pages, filters. On the fake driver. */
import { Sandbox, type SandboxListOpts } from 'e2b';
import { Tenancy } from './sdk';

jest.setTimeout(120_000);
let mine: Tenancy;
/** In the order in which they were made. */
const made: Sandbox[] = [];
const odd = { 'a key': 'x=1&y=2', city: 'Zürich 100%', plus: 'a+b' };
beforeAll(async () => {
  mine = await Tenancy.open('fake');
  for (let i = 0; i < 5; i++) made.push(await mine.create({ metadata: { group: i % 2 === 0 ? 'even' : 'odd', number: String(i), ...(i === 4 ? odd : {}) } }));
  await made[1]?.pause();
});
afterAll(() => mine?.close());

const ids = (): string[] => made.map(({ sandboxId }) => sandboxId);
const newest = (): string[] => ids().reverse();
/** All pages. */
async function list(options: SandboxListOpts = {}): Promise<{ found: string[]; pages: number[] }> {
  const paginator = Sandbox.list({ ...options, ...mine.at });
  const found: string[] = [];
  const pages: number[] = [];
  while (paginator.hasNext) {
    const page = await paginator.nextItems();
    pages.push(page.length);
    found.push(...page.map(({ sandboxId }) => sandboxId));
  }
  return { found, pages };
}

it('gives the newest first, the running and the paused alike', async () => {
  expect((await list()).found).toEqual(newest());
});

it('gives the oldest first when asked', async () => {
  expect((await list({ order: 'asc' })).found).toEqual(ids());
});

it('goes on where a page ended, and says after the last that there is no more', async () => {
  expect(await list({ limit: 2 })).toEqual({ found: newest(), pages: [2, 2, 1] });
  const whole = Sandbox.list({ limit: 5, ...mine.at });
  expect(await whole.nextItems()).toHaveLength(5);
  expect(whole.hasNext).toBe(false);
  expect(whole.nextToken).toBeUndefined();
  await expect(whole.nextItems()).rejects.toThrow();
});

it('neither loses nor repeats one when others are made between two pages', async () => {
  const paginator = Sandbox.list({ limit: 2, ...mine.at });
  const found = (await paginator.nextItems()).map(({ sandboxId }) => sandboxId);
  const later = await mine.create();
  while (paginator.hasNext) found.push(...(await paginator.nextItems()).map(({ sandboxId }) => sandboxId));
  expect(found).toEqual(newest());
  await later.kill();
});

it('keeps filters over pages', async () => {
  expect(await list({ limit: 2, query: { metadata: { group: 'even' } } })).toEqual({ found: [4, 2, 0].map((i) => ids()[i]), pages: [2, 1] });
});

it('wants every pair of metadata that was asked for', async () => {
  expect((await list({ query: { metadata: { group: 'even', number: '2' } } })).found).toEqual([ids()[2]]);
  expect((await list({ query: { metadata: { group: 'odd', number: '2' } } })).found).toEqual([]);
  expect((await list({ query: { metadata: { absent: 'x' } } })).found).toEqual([]);
});

it('finds metadata with any characters in them', async () => {
  for (const [key, value] of Object.entries(odd)) expect((await list({ query: { metadata: { [key]: value } } })).found).toEqual([ids()[4]]);
  expect((await list({ query: { metadata: odd } })).found).toEqual([ids()[4]]);
});

it('filters by state', async () => {
  expect((await list({ query: { state: ['paused'] } })).found).toEqual([ids()[1]]);
  expect((await list({ query: { state: ['running'] } })).found).toEqual(newest().filter((id) => id !== ids()[1]));
  expect((await list({ query: { state: ['running', 'paused'] } })).found).toEqual(newest());
});

it('filters by template: by its name, its alias, its id', async () => {
  const { templateId } = await (made[0] as Sandbox).getInfo();
  for (const template of ['base', 'default', templateId]) expect({ template, found: (await list({ query: { template } })).found }).toEqual({ template, found: newest() });
  expect((await list({ query: { template: 'no-such-template' } })).found).toEqual([]);
});

it('gives those that started at a moment or after it, this moment included', async () => {
  const { startedAt } = await (made[2] as Sandbox).getInfo();
  expect((await list({ query: { startedAfter: startedAt } })).found).toEqual([4, 3, 2].map((i) => ids()[i]));
  expect((await list({ query: { startedAfter: new Date(startedAt.getTime() + 1) } })).found).toEqual([4, 3].map((i) => ids()[i]));
});

it('forgets a killed one at once', async () => {
  const one = await mine.create({ metadata: { group: 'killed' } });
  await one.kill();
  expect((await list({ query: { metadata: { group: 'killed' } } })).found).toEqual([]);
});

it('tells of each what getInfo tells', async () => {
  const [listed] = await Sandbox.list({ ...mine.at, query: { metadata: { number: '3' } } }).nextItems();
  const info = await (made[3] as Sandbox).getInfo();
  expect(info).toMatchObject({ ...listed, endAt: expect.any(Date) as Date });
});

it('refuses a page of none and of more than 100, and a token that it did not give', async () => {
  for (const query of ['limit=0', 'limit=101', 'nextToken=nonsense', 'state=dead']) {
    const answer = await fetch(`https://api.${mine.at.domain}/v2/sandboxes?${query}`, { headers: { 'x-api-key': mine.at.apiKey } });
    expect({ query, status: answer.status, body: await answer.json() }).toEqual({ query, status: 400, body: expect.objectContaining({ code: 400 }) as object });
  }
});
