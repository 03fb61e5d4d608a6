import fc from 'fast-check';
import { isControlRoute, sameText, signatureOf, surfaceAccess } from './access';

const seed = 20_261_125;
const token = 'tok';
const nowS = 1_800_000_000;
const ask = (method: string, path: string, given?: string) => {
  const url = new URL(path, 'http://surface');
  return surfaceAccess({ method, pathname: url.pathname, query: url.searchParams, token: given }, token, nowS);
};

it('makes the signature that the SDK makes', () => {
  // printf '/home/user/a:read:user:tok:1800000000' | openssl sha256 -binary | base64, without padding.
  expect(signatureOf({ path: '/home/user/a', operation: 'read', user: 'user', token, expiration: '1800000000' })).toBe('v1_cv93Qff2R6sd4JUjSD4MaKvI885t2H2rqXpPGPTzQDY');
  expect(signatureOf({ path: '', operation: 'write', user: '', token, expiration: null })).toBe('v1_XfYYOx0ojDc6kqfLnaJuiYLWXCK2SaWCthv8+gv5kbo');
});

it('opens the surface to the token, health to all, files to a signature, and nothing else', () => {
  const signed = fc.record({ path: fc.string(), user: fc.string(), operation: fc.constantFrom('read' as const, 'write' as const), expiration: fc.option(fc.integer({ min: nowS - 5, max: nowS + 5 }).map(String)) });
  const tamper = fc.constantFrom('', 'path', 'username', 'signature', 'signature_expiration');
  fc.assert(
    fc.property(signed, tamper, fc.constantFrom('GET', 'POST', 'PUT', 'HEAD'), fc.constantFrom('/files', '/files/', '/filesystem', '/health'), (about, what, method, pathname) => {
      const query = new URLSearchParams({ path: about.path, username: about.user, signature: signatureOf({ ...about, token }) });
      if (about.expiration !== null) query.set('signature_expiration', about.expiration);
      if (what !== '') query.set(what, `${query.get(what) ?? ''}1`);
      const access = surfaceAccess({ method, pathname, query, token: undefined }, token, nowS);
      if (pathname === '/health' && (method === 'GET' || method === 'HEAD')) return void expect(access.kind).toBe('open');
      const fits = pathname === '/files' && what === '' && method === { read: 'GET', write: 'POST' }[about.operation];
      if (fits && about.expiration !== null && Number(about.expiration) < nowS) expect(access).toEqual({ kind: 'refused', message: 'signature is already expired' });
      else expect(access.kind).toBe(fits ? 'shown' : 'refused');
    }),
    { seed, numRuns: 500 },
  );
});

it('lets a token decide, right or wrong', () => {
  const signature = encodeURIComponent(signatureOf({ path: '/a', operation: 'read', user: '', token, expiration: null }));
  expect(ask('GET', `/files?path=/a&signature=${signature}`).kind).toBe('shown');
  expect(ask('GET', `/files?path=/a&signature=${signature}`, 'wrong').kind).toBe('refused');
  expect(ask('GET', `/files?path=/b&signature=${signature}`, token).kind).toBe('shown');
  expect(ask('GET', '/health', 'wrong').kind).toBe('open');
  expect(ask('GET', '/health', token).kind).toBe('shown');
  expect(ask('POST', '/health').kind).toBe('refused');
});

it('refuses what is given twice', () => {
  const query = `path=/a&signature=${encodeURIComponent(signatureOf({ path: '/a', operation: 'read', user: '', token, expiration: null }))}`;
  for (const more of ['&path=/b', '&path=/a', '&username=', '&username=root&username=', '&signature=x']) expect(ask('GET', `/files?${query}${more}`).kind).toBe(more === '&username=' ? 'shown' : 'refused');
});

it('knows control routes in every spelling', () => {
  for (const path of ['/init', '/INIT', '/init/', '//init', '/%69nit', '/init/more', '/fsfreeze', '/init%3fa', '/init;a']) expect(isControlRoute(path)).toBe(true);
  for (const path of ['/', '/initial', '/files/init', '/process.Process/Start', '/%', '/health']) expect(isControlRoute(path)).toBe(false);
});

it('compares texts of any length', () => {
  fc.assert(fc.property(fc.string(), fc.string(), (left, right) => expect(sameText(left, right)).toBe(left === right)), { seed });
});
