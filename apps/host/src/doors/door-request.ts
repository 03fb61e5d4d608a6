import type { IncomingHttpHeaders } from 'node:http';
import { limits } from '@alcove/base';
import { type DoorCall, doorHeaders, type DoorName, doorNames, type DoorRoute, doors, Problem } from '@alcove/contracts';

/** The head of a request as Node's parser gives it. */
export interface RequestHead {
  readonly method: string;
  readonly target: string;
  readonly httpVersion: string;
  readonly headers: IncomingHttpHeaders;
  /** Names and values in turn, repeated ones too. */
  readonly rawHeaders: readonly string[];
}

const target = /^(\/[A-Za-z0-9._~/-]*)(?:\?([A-Za-z0-9._~!$&'()*+,;=:@/?%-]*))?$/;
const param = /^[A-Za-z0-9._-]{1,128}$/;
const json = /^application\/json(?:\s*;\s*charset="?utf-8"?)?$/i;
/** What may not be there twice, because two readers could take different ones. */
const single = new Set<string>(['host', 'content-length', 'transfer-encoding', 'content-type', 'connection', 'expect', 'origin', ...doorHeaders]);

/**
 * What a program in the room asks for, said anew: the door by the Host header, the route by method and path, and what that route takes. Strict HTTP/1.1: what two
 * readers could understand differently is refused. Problems: `request.invalid`, `request.unknown_route`, `request.method`, `request.media_type`, `request.too_large`, `auth.scope` (a web page's).
 */
export function readHead(head: RequestHead): { call: Omit<DoorCall, 'body'>; body: boolean } {
  refuseUnclear(head);
  const door = doorOf(head.headers.host ?? '');
  const { origin } = head.headers;
  if (origin !== undefined && origin !== `http://${doors[door].hostName}`) throw new Problem('auth.scope', { detail: 'This door does not answer web pages.' });
  const [, path, search] = target.exec(head.target) ?? [];
  if (path === undefined) throw new Problem('request.invalid', { detail: 'The path has characters that no route has.' });
  const { name, route, params } = routeOf(doors[door].routes, head.method, path);
  const body = route.body === true;
  refuseBody(head.headers, body);
  return { call: { door, route: name, params, query: queryOf(search ?? ''), headers: passedOn(head.headers) }, body };
}

function refuseUnclear({ httpVersion, headers, rawHeaders }: RequestHead): void {
  if (httpVersion !== '1.1') throw invalid('A door speaks HTTP/1.1.');
  if (rawHeaders.length > 2 * limits.doors.headers) throw invalid('There are too many headers.');
  const seen = new Set<string>();
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = (rawHeaders[at] ?? '').toLowerCase();
    if (single.has(name) && seen.has(name)) throw invalid(`The header ${name} is there twice.`);
    seen.add(name);
  }
  if (headers.upgrade !== undefined) throw invalid('There is no other protocol here.');
  const coding = headers['transfer-encoding'];
  if (coding !== undefined && (coding !== 'chunked' || headers['content-length'] !== undefined)) throw invalid('The length of the body is not clear.');
  if (headers['content-encoding'] !== undefined) throw new Problem('request.media_type', { detail: 'Bodies are not encoded.' });
}

function doorOf(host: string): DoorName {
  const name = host.toLowerCase().replace(/:80$/, '');
  const door = doorNames.find((candidate) => doors[candidate].hostName === name);
  if (!door) throw new Problem('request.unknown_route', { detail: 'There is no door of that name.' });
  return door;
}

function routeOf(routes: Readonly<Record<string, DoorRoute>>, method: string, path: string): { name: string; route: DoorRoute; params: Record<string, string> } {
  const segments = path.split('/');
  let known = false;
  for (const [name, route] of Object.entries(routes)) {
    const params = matched(route.path.split('/'), segments);
    if (!params) continue;
    if (route.method === method) return { name, route, params };
    known = true;
  }
  throw new Problem(known ? 'request.method' : 'request.unknown_route');
}

function matched(pattern: readonly string[], segments: readonly string[]): Record<string, string> | null {
  if (pattern.length !== segments.length) return null;
  const params: Record<string, string> = {};
  for (const [at, part] of pattern.entries()) {
    const segment = segments[at] ?? '';
    if (part.startsWith(':') && param.test(segment)) params[part.slice(1)] = segment;
    else if (part !== segment) return null;
  }
  return params;
}

function refuseBody(headers: IncomingHttpHeaders, wanted: boolean): void {
  const length = headers['content-length'];
  const sends = headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0');
  if (!wanted && sends) throw invalid('This route takes no body.');
  if (!wanted) return;
  if (Number(length ?? 0) > limits.doors.bodyBytes) throw new Problem('request.too_large');
  if (!json.test(headers['content-type'] ?? '')) throw new Problem('request.media_type', { detail: 'The body must be application/json.' });
}

function queryOf(search: string): Record<string, string> {
  if (search.length > limits.doors.queryBytes) throw invalid('The query is too long.');
  const query: Record<string, string> = {};
  for (const [name, value] of new URLSearchParams(search)) {
    if (!/^[A-Za-z]{1,32}$/.test(name)) throw invalid('The query has a name that no route has.');
    if (Object.hasOwn(query, name)) throw invalid(`The query says ${name} twice.`);
    query[name] = value;
  }
  return query;
}

function passedOn(headers: IncomingHttpHeaders): DoorCall['headers'] {
  const passed: DoorCall['headers'] = {};
  for (const name of doorHeaders) {
    const value = headers[name];
    if (typeof value !== 'string') continue;
    if (value.length > limits.doors.headerChars) throw invalid(`The header ${name} is too long.`);
    passed[name] = value;
  }
  return passed;
}

function invalid(detail: string): Problem {
  return new Problem('request.invalid', { detail });
}
