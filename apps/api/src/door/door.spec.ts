import { PassThrough, Readable } from 'node:stream';
import { limits } from '@alcove/base';
import { isProblem, Problem, scopes } from '@alcove/contracts';
import fc from 'fast-check';
import { readWhole } from './bodies';
import { checkBody, checkParams, checkQuery, nested } from './checks';
import { requestId } from './door';
import { KeyRates } from './key-rates';
import { methodsOf, toProblem } from './problems';
import { routeTable, type RouteSpec } from './route';

function codeOf(run: () => unknown): string | undefined {
  try {
    run();
  } catch (error) {
    return isProblem(error) ? error.code : String(error);
  }
  return undefined;
}

describe('the table of routes', () => {
  const rows = Object.entries(routeTable);

  it('gives each route one scope that exists, or says that it is open', () => {
    for (const [id, route] of rows) expect({ id, known: [...scopes, 'open', 'docs'].includes(route.access) }).toEqual({ id, known: true });
  });

  it('leaves only health open to strangers', () => {
    expect(rows.filter(([, route]) => route.access === 'open').map(([id]) => id)).toEqual(['healthz', 'readyz']);
  });

  it('keeps the operator away from rooms, and tenants away from the operator', () => {
    for (const [id, route] of rows) {
      const operators = ['Tenants', 'Keys'].includes(route.tag) || id === 'metrics';
      expect({ id, platform: route.access === 'platform' }).toEqual({ id, platform: operators });
    }
  });

  it('lets reading keys change nothing', () => {
    for (const [id, route] of rows) if (route.access === 'rooms:read') expect({ id, method: route.method }).toEqual({ id, method: 'GET' });
  });

  it('has no two rows for one method and path', () => {
    const places = rows.map(([, route]) => `${route.method} ${route.path.replaceAll(/:\w+/g, ':')}`);
    expect(new Set(places).size).toBe(places.length);
  });

  it('tells a wrong method from a wrong path', () => {
    expect(methodsOf('/v1/rooms?x=1')).toEqual(['GET', 'POST']);
    expect(methodsOf('/v1/rooms/room_1/files')).toEqual(['DELETE', 'GET', 'PUT']);
    expect(methodsOf('/openapi-json')).toEqual([]);
  });
});

describe('the checks of a request', () => {
  const spec = (part: Partial<RouteSpec>): RouteSpec => ({ method: 'GET', path: '/', tag: 'Rooms', summary: '', access: 'open', answer: { status: 200, description: '' }, problems: [], ...part });

  it('take an id that cannot exist for one that was not found', () => {
    expect(codeOf(() => checkParams({ roomId: 'room_1' }))).toBe('room.not_found');
    expect(codeOf(() => checkParams({ tenantId: "'; drop table" }))).toBe('tenant.not_found');
    expect(codeOf(() => checkParams({ userId: 'a b' }))).toBe('user.not_found');
    expect(codeOf(() => checkParams({ keyId: 'key_00000000000000000000', roomId: 'room_0123456789abcdef0123' }))).toBeUndefined();
  });

  it('read one level of groups in a query', () => {
    expect(nested({ 'metadata[team]': 'a', 'metadata[x]': 'b', limit: '3' })).toEqual({ metadata: { team: 'a', x: 'b' }, limit: '3' });
    expect(codeOf(() => nested({ metadata: 'a', 'metadata[x]': 'b' }))).toBe('request.invalid');
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    nested({ '__proto__[polluted]': 'yes' });
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  it('refuse what a route does not know', () => {
    expect(codeOf(() => checkQuery(spec({}), { x: '1' }))).toBe('request.invalid');
    expect(codeOf(() => checkBody(undefined, { x: 1 }))).toBe('request.invalid');
    expect(codeOf(() => checkBody(undefined, {}))).toBeUndefined();
    expect(codeOf(() => checkBody(routeTable.createRoom.body, { userId: 'u', extra: 1 }))).toBe('request.invalid');
    expect(codeOf(() => checkBody(routeTable.createRoom.body, undefined))).toBe('request.invalid');
  });

  it('refuse a NUL wherever it hides', () => {
    expect(codeOf(() => checkBody(routeTable.createRoom.body, { userId: 'u', metadata: { a: 'x\0' } }))).toBe('request.invalid');
    expect(codeOf(() => checkQuery(spec({ query: routeTable.listRooms.query }), { 'metadata[a\0]': 'x' }))).toBe('request.invalid');
  });

  it('never fail in another way, whatever JSON they are given', () => {
    const bodies = Object.values(routeTable).map((route) => route.body);
    fc.assert(
      fc.property(fc.constantFrom(...bodies), fc.jsonValue(), (body, value) => {
        const code = codeOf(() => checkBody(body, value));
        expect([undefined, 'request.invalid']).toContain(code);
      }),
      { seed: 20261120, numRuns: 2000 },
    );
  });

  it('survive a body that is deep and one that is wide', () => {
    let deep: unknown = 'x';
    for (let i = 0; i < 100_000; i++) deep = [deep];
    const wide = Array.from({ length: 300_000 }, () => 0);
    for (const value of [deep, wide]) expect(codeOf(() => checkBody(routeTable.createRoom.body, value))).toBe('request.invalid');
  });
});

describe('reading a body', () => {
  it('stops at the limit', async () => {
    await expect(readWhole(Readable.from([Buffer.alloc(6), Buffer.alloc(6)]), 10)).rejects.toMatchObject({ code: 'request.too_large' });
    expect(await readWhole(Readable.from([Buffer.alloc(5), Buffer.alloc(5)]), 10)).toHaveLength(10);
  });

  it('says when the sender went away', async () => {
    const source = new PassThrough();
    const reading = readWhole(source, 10);
    source.write('abc');
    source.destroy();
    await expect(reading).rejects.toMatchObject({ code: 'request.invalid' });
  });
});

describe("a key's rate", () => {
  const key = { keyId: 'key_a', ratePerSecond: 2, concurrent: 3 };

  it('counts what runs at once', async () => {
    const rates = new KeyRates();
    const fast = { ...key, ratePerSecond: 100 };
    const leaves = [await rates.enter(fast), await rates.enter(fast), await rates.enter(fast)];
    await expect(rates.enter(fast)).rejects.toMatchObject({ code: 'request.concurrency' });
    expect(await rates.enter({ ...fast, keyId: 'key_b' })).toEqual(expect.any(Function));
    leaves[0]?.();
    expect(await rates.enter(fast)).toEqual(expect.any(Function));
    expect(rates.running).toBe(4);
  });

  it('ends, with the time to wait, after the burst', async () => {
    const rates = new KeyRates();
    const refusals: unknown[] = [];
    const burst = (limits.key.burst / limits.key.ratePerSecond) * key.ratePerSecond;
    for (let i = 0; i < key.ratePerSecond + burst + 20; i++) {
      await rates.enter(key).then(
        (leave) => leave(),
        (error: unknown) => refusals.push(error),
      );
    }
    expect(refusals.length).toBeGreaterThan(0);
    for (const refusal of refusals) expect(refusal).toMatchObject({ code: 'request.rate', retryAfterMs: expect.any(Number) });
    expect(rates.running).toBe(0);
  });
});

describe('any error', () => {
  it('becomes a problem that says nothing it should not', () => {
    const body = toProblem(new Error('password=hunter2')).toBody();
    expect(body).toMatchObject({ code: 'internal', status: 500 });
    expect(JSON.stringify(body)).not.toContain('hunter2');
    expect(toProblem(Object.assign(new Error(), { code: 'FST_ERR_BAD_URL' })).code).toBe('request.invalid');
    expect(toProblem(new Problem('room.busy')).code).toBe('room.busy');
    expect(toProblem(undefined).code).toBe('internal');
  });
});

it('a request id is taken over from a trusted proxy only', () => {
  expect(requestId({ 'x-request-id': 'abc-1' }, true)).toBe('abc-1');
  expect(requestId({ 'x-request-id': 'abc-1' }, false)).toMatch(/^req_/);
  expect(requestId({ 'x-request-id': 'a\nb' }, true)).toMatch(/^req_/);
});

