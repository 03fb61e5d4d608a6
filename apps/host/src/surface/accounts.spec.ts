import fc from 'fast-check';
import { absolutePath, checkedName, findAccount, userNamed } from './accounts';
import { SurfaceError } from './surface-error';

const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;
it.each([
  [undefined, undefined],
  ['Bearer abc', undefined],
  [basic(':'), undefined],
  [basic('root:'), 'root'],
  [basic('root'), 'root'],
  [basic('a:b:c'), 'a'],
])('%s names %s', (header, name) => expect(userNamed(header)).toBe(name));
it.each(['Basic %%%', `Basic ${'A'.repeat(500)}`])('%.20s names nobody, and is no default either', (header) => {
  expect(() => userNamed(header)).toThrow(expect.objectContaining({ code: 'unauthenticated' }));
});
it('lets only names through that a room can have', () => {
  expect(checkedName(undefined)).toBe('user');
  fc.assert(
    fc.property(fc.string(), (name) => {
      if (/^[a-z_][a-z0-9_-]{0,31}$/.test(name)) expect(checkedName(name)).toBe(name);
      else expect(() => checkedName(name)).toThrow(SurfaceError);
    }),
  );
});
it('finds an account by its whole name only, whatever the file says', () => {
  const passwd = 'root:x:0:0:root:/root:/bin/bash\nshort:x\nuser:x:1000:1000::/home/user:/bin/bash\nodd:x:1:1::relative:/bin/sh\n';
  expect(findAccount(passwd, 'user')).toEqual({ name: 'user', home: '/home/user' });
  for (const name of ['use', 'short', 'odd', '', 'x']) expect(findAccount(passwd, name)).toBeUndefined();
  fc.assert(fc.property(fc.string(), fc.string(), (text, name) => expect(findAccount(text, name)?.home.startsWith('/') ?? true).toBe(true)));
});
it.each([
  ['', '/home/user'],
  ['~', '/home/user'],
  ['~/a', '/home/user/a'],
  ['a/./b/../c', '/home/user/a/c'],
  ['/a//b/', '/a/b'],
  ['../../..', '/'],
])('%j leads to %s', (path, to) => expect(absolutePath(path, '/home/user')).toBe(to));
it('leads to an absolute path or nowhere', () => {
  fc.assert(
    fc.property(fc.string(), (path) => {
      try {
        expect(absolutePath(path, '/home/user')).toMatch(/^\//);
      } catch (error) {
        expect(error).toBeInstanceOf(SurfaceError);
      }
    }),
  );
});
