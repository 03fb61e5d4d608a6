import type { IncomingHttpHeaders } from 'node:http';
import { DoorCall, doorNames, doors, isProblem } from '@alcove/contracts';
import fc from 'fast-check';
import { readHead, type RequestHead } from './door-request';

const seed = 20261126;
const host = 'memory.alcove.internal';

function head(method: string, target: string, headers: Record<string, string> = {}, repeated: string[] = []): RequestHead {
  const all: IncomingHttpHeaders = { host, ...headers };
  return { method, target, httpVersion: '1.1', headers: all, rawHeaders: [...Object.entries(all).flatMap(([name, value]) => [name, String(value)]), ...repeated] };
}
function codeOf(asked: RequestHead): string {
  try {
    readHead(asked);
    return 'taken';
  } catch (error) {
    return isProblem(error) ? error.code : String(error);
  }
}
const json = { 'content-type': 'application/json', 'content-length': '2' };

describe('what a program asks', () => {
  it('is a route by its name, with its parameters and nothing else', () => {
    expect(readHead(head('GET', '/v1/memory?limit=5&kind=fact', { authorization: 'Bearer x', cookie: 'a=b', 'x-user': 'bob', accept: 'text/html', forwarded: 'for=1' }))).toEqual({
      call: { door: 'memory', route: 'list', params: {}, query: { limit: '5', kind: 'fact' }, headers: { accept: 'text/html' } },
      body: false,
    });
    expect(readHead(head('PUT', '/v1/memory/blocks/about-me', { ...json, 'if-match': '"3"' })).call).toMatchObject({ route: 'setBlock', params: { label: 'about-me' }, headers: { 'if-match': '"3"' } });
    expect(readHead(head('GET', '/v1/memory/blocks')).call).toMatchObject({ route: 'blocks', params: {} });
    expect(readHead(head('GET', '/v1/memory/mem_00')).call).toMatchObject({ route: 'get', params: { id: 'mem_00' } });
    expect(readHead(head('POST', '/mcp', { ...json, host: 'Memory.Alcove.Internal:80' }))).toMatchObject({ call: { route: 'mcp' }, body: true });
    expect(readHead(head('POST', '/mcp', { 'content-type': 'application/json; charset=utf-8', 'transfer-encoding': 'chunked' })).body).toBe(true);
  });
  it.each<[string, RequestHead]>([
    ['request.unknown_route', head('GET', '/v1/memory', { host: 'other.alcove.internal' })],
    ['request.unknown_route', head('GET', '/v1/memory', { host: '' })],
    ['request.unknown_route', head('GET', '/v1/memory', { host: `${host}:8080` })],
    ['request.unknown_route', head('GET', '/v1/memory', { host: `${host}.` })],
    ['request.unknown_route', head('GET', '/')],
    ['request.unknown_route', head('GET', '/v1/rooms')],
    ['request.unknown_route', head('GET', '/v1/memory/')],
    ['request.unknown_route', head('GET', '//v1/memory')],
    ['request.unknown_route', head('GET', '/v1/memory/../rooms')],
    ['request.unknown_route', head('GET', `/v1/memory/${'a'.repeat(129)}`)],
    ['request.method', head('PATCH', '/v1/memory/mem_1', json)],
    ['request.method', head('GET', '/mcp')],
    ['request.method', head('DELETE', '/mcp')],
    ['request.invalid', head('GET', `http://${host}/v1/memory`)],
    ['request.invalid', head('OPTIONS', '*')],
    ['request.invalid', head('GET', '/v1/memory/%2e%2e')],
    ['request.invalid', head('GET', '/v1/memory#x')],
    ['request.invalid', head('GET', '/v1/memory?a=1&a=2')],
    ['request.invalid', head('GET', '/v1/memory?__proto__=1')],
    ['request.invalid', head('GET', `/v1/memory?a=${'x'.repeat(3000)}`)],
    ['request.invalid', { ...head('GET', '/v1/memory'), httpVersion: '1.0' }],
    ['request.invalid', head('GET', '/v1/memory', {}, ['Host', 'evil'])],
    ['request.invalid', head('POST', '/mcp', json, ['Content-Length', '3'])],
    ['request.invalid', head('POST', '/mcp', json, ['If-Match', '1', 'if-match', '2'])],
    ['request.invalid', head('GET', '/v1/memory', {}, Array.from({ length: 200 }, (_none, at) => `x-${at}`))],
    ['request.invalid', head('POST', '/mcp', { ...json, 'transfer-encoding': 'chunked' })],
    ['request.invalid', head('POST', '/mcp', { 'content-type': 'application/json', 'transfer-encoding': 'gzip, chunked' })],
    ['request.invalid', head('GET', '/v1/memory', { 'content-length': '2' })],
    ['request.invalid', head('GET', '/v1/memory', { 'transfer-encoding': 'chunked' })],
    ['request.invalid', head('GET', '/v1/memory', { upgrade: 'h2c', connection: 'upgrade' })],
    ['request.invalid', head('GET', '/v1/memory', { accept: 'x'.repeat(2000) })],
    ['request.media_type', head('POST', '/mcp', { 'content-length': '2' })],
    ['request.media_type', head('POST', '/mcp', { ...json, 'content-type': 'text/plain' })],
    ['request.media_type', head('POST', '/mcp', { ...json, 'content-encoding': 'gzip' })],
    ['request.too_large', head('POST', '/mcp', { ...json, 'content-length': String((1 << 20) + 1) })],
    ['auth.scope', head('POST', '/mcp', { ...json, origin: 'http://evil.example' })],
    ['auth.scope', head('POST', '/mcp', { ...json, origin: 'null' })],
  ])('gets %s otherwise', (code, asked) => expect(codeOf(asked)).toBe(code));

  it('is never anything but a call that the other side takes, whatever is sent', () => {
    const routes: Record<string, Record<string, unknown>> = Object.fromEntries(doorNames.map((door) => [door, doors[door].routes]));
    const pieces = fc.constantFrom('/v1', '/memory', '/blocks', '/search', '/mcp', '/..', '//', '/%2f', '/mem_1', '?a=b', '&', '#', '\\', ' ', '\r\n', '/\u0000', '/é', '?__proto__=1', '?constructor=1');
    const value = fc.oneof(fc.string({ maxLength: 40 }), fc.constantFrom(host, 'chunked', 'application/json', '2', '0', `http://${host}`));
    const name = fc.constantFrom('host', 'origin', 'content-type', 'content-length', 'transfer-encoding', 'content-encoding', 'upgrade', 'if-match', 'mcp-name', 'accept', 'x-other');
    const asked = fc.record({ method: fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'get', ''), target: fc.oneof(fc.constantFrom('/v1/memory', '/mcp', '/v1/memory/blocks/x'), fc.array(pieces, { maxLength: 6 }).map((parts) => parts.join(''))), headers: fc.oneof(fc.constant({}), fc.constant(json), fc.dictionary(name, value, { maxKeys: 3 })) });
    let taken = 0;
    fc.assert(
      fc.property(asked, ({ method, target, headers }) => {
        const outcome = codeOf(head(method, target, headers));
        expect(['taken', 'request.invalid', 'request.unknown_route', 'request.method', 'request.media_type', 'request.too_large', 'auth.scope']).toContain(outcome);
        if (outcome !== 'taken') return;
        taken += 1;
        const { call } = readHead(head(method, target, headers));
        expect(DoorCall.parse({ ...call, body: null })).toEqual({ ...call, body: null });
        expect(Object.keys(routes[call.door] ?? {})).toContain(call.route);
      }),
      { seed, numRuns: 3000 },
    );
    expect(taken).toBeGreaterThan(10);
  });
});
