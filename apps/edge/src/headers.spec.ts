import fc from 'fast-check';
import { answerHeaders, bodyLengthOf, pairs, requestHeaders, valuesOf } from './headers';

const seed = 20_261_125;
const names = ['Host', 'Connection', 'Keep-Alive', 'Transfer-Encoding', 'Content-Length', 'TE', 'Upgrade', 'X-Forwarded-For', 'X-Access-Token', 'X-A', 'x-a', 'Cookie', 'Accept', ':path', 'Proxy-Authorization', 'Expect'];
const list = fc.array(fc.tuple(fc.constantFrom(...names), fc.constantFrom('a', 'close', 'X-A, keep-alive', 'chunked', '5', '')), { maxLength: 12 }).map((all) => all.flat());
const never = ['connection', 'keep-alive', 'transfer-encoding', 'te', 'upgrade', 'proxy-authorization'];

it('passes on what is for the other end, in order and case, and nothing that is for this connection', () => {
  fc.assert(
    fc.property(list, (headers) => {
      const named = valuesOf(headers, 'connection').join(',').toLowerCase();
      const kept = requestHeaders(headers, (name) => name === 'x-access-token');
      for (const [name] of pairs(kept)) expect([...never, 'host', 'content-length', 'expect', 'x-forwarded-for', 'x-access-token', ':path']).not.toContain(name.toLowerCase());
      if (named.includes('x-a')) expect(valuesOf(kept, 'x-a')).toEqual([]);
      else expect([...pairs(kept)].filter(([name]) => /^x-a$/i.test(name))).toEqual([...pairs(headers)].filter(([name]) => /^x-a$/i.test(name)));
      expect(valuesOf(kept, 'accept')).toEqual(valuesOf(headers, 'accept'));
      expect(valuesOf(kept, 'cookie').join('; ')).toBe(valuesOf(headers, 'cookie').join('; '));
      expect(valuesOf(kept, 'cookie').length).toBeLessThan(2);
      for (const [name] of pairs(answerHeaders(headers))) expect(never).not.toContain(name.toLowerCase());
    }),
    { seed, numRuns: 500 },
  );
});

it('knows one length, or none', () => {
  fc.assert(
    fc.property(list, (headers) => {
      const [lengths, encodings] = [valuesOf(headers, 'content-length'), valuesOf(headers, 'transfer-encoding')];
      const length = bodyLengthOf(headers);
      if (lengths.length + encodings.length > 1) expect(length).toBeNull();
      else if (lengths.length + encodings.length === 0) expect(length).toBe('none');
    }),
    { seed, numRuns: 500 },
  );
});

it.each([
  [['Content-Length', '0'], 'none'],
  [['content-length', '17'], 17],
  [['Content-Length', '0x11'], null],
  [['Content-Length', '1,1'], null],
  [['Content-Length', '-1'], null],
  [['Content-Length', '9'.repeat(16)], null],
  [['Transfer-Encoding', 'Chunked'], 'unknown'],
  [['Transfer-Encoding', 'chunked, chunked'], null],
  [['Transfer-Encoding', 'xchunked'], null],
  [['Transfer-Encoding', ''], null],
])('reads %j as %s', (headers, length) => {
  expect(bodyLengthOf(headers)).toBe(length);
});
