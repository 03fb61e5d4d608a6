/** Headers on their way through: flat lists [name, value, name, value …] as Node's rawHeaders, so that case, order and repetition are kept. Pure. */
export type HeaderList = readonly string[];

/** RFC 9110 §7.6.1: of one connection only, with what older clients send beside them. */
const hopByHop = new Set(['connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authorization', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'http2-settings']);
/** Said anew by us: nobody is believed. `expect` was answered by the server. */
const saidAnew = new Set(['host', 'content-length', 'expect', 'forwarded', 'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'x-forwarded-port', 'x-real-ip']);

export function* pairs(list: HeaderList): Generator<[name: string, value: string]> {
  for (let at = 0; at + 1 < list.length; at += 2) yield [list[at] ?? '', list[at + 1] ?? ''];
}

/** All values of one header; the name in lower case. */
export function valuesOf(list: HeaderList, wanted: string): string[] {
  return [...pairs(list)].filter(([name]) => name.toLowerCase() === wanted).map(([, value]) => value);
}

/** What the Connection headers name as theirs. */
function connectionOptions(list: HeaderList): Set<string> {
  return new Set(valuesOf(list, 'connection').flatMap((value) => value.split(',')).map((option) => option.trim().toLowerCase()));
}

/** What of a request's headers goes on; `drop` says of names in lower case which do not. Cookies that HTTP/2 split are one header again (RFC 9113 §8.2.3). */
export function requestHeaders(list: HeaderList, drop: (name: string) => boolean): string[] {
  const named = connectionOptions(list);
  const kept: string[] = [];
  const cookies: string[] = [];
  for (const [name, value] of pairs(list)) {
    const lower = name.toLowerCase();
    if (lower.startsWith(':') || hopByHop.has(lower) || saidAnew.has(lower) || named.has(lower) || drop(lower)) continue;
    if (lower === 'cookie') cookies.push(value);
    else kept.push(name, value);
  }
  if (cookies.length > 0) kept.push('Cookie', cookies.join('; '));
  return kept;
}

/** What of an answer's headers goes back. */
export function answerHeaders(list: HeaderList, drop: (name: string) => boolean = () => false): string[] {
  const named = connectionOptions(list);
  const kept: string[] = [];
  for (const [name, value] of pairs(list)) {
    const lower = name.toLowerCase();
    if (hopByHop.has(lower) || named.has(lower) || drop(lower)) continue;
    kept.push(name, value);
  }
  return kept;
}

/** How long a request's body is: `none`, so many bytes, or `unknown`. */
export type BodyLength = 'none' | 'unknown' | number;

/**
 * The framing of an HTTP/1.1 request, said once more after Node's own strict parser: null when it could be read in two ways. RFC 9112 §6.3: a Transfer-Encoding beside
 * a Content-Length, two lengths, or an encoding other than chunked is what smuggled requests are made of.
 */
export function bodyLengthOf(list: HeaderList): BodyLength | null {
  const lengths = valuesOf(list, 'content-length');
  const encodings = valuesOf(list, 'transfer-encoding');
  if (encodings.length > 0) return encodings.length === 1 && lengths.length === 0 && encodings[0]?.toLowerCase() === 'chunked' ? 'unknown' : null;
  if (lengths.length === 0) return 'none';
  const [length = ''] = lengths;
  if (lengths.length > 1 || !/^\d{1,15}$/.test(length)) return null;
  return Number(length) === 0 ? 'none' : Number(length);
}
