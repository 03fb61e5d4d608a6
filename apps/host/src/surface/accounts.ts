import { posix } from 'node:path';
import { limits } from '@alcove/base';
import { isProblem } from '@alcove/contracts';
import type { FileRights, GuestSession } from '@alcove/runtime';
import { readSmallFile } from '../services/files';
import { SurfaceError } from './surface-error';

/** A user of the room, on whose behalf something is done. */
export interface Account {
  name: string;
  home: string;
}

const defaultUser = 'user';
const nameForm = /^[a-z_][a-z0-9_-]{0,31}$/;
const passwdBytesMax = 256 << 10;

/** Whom a call names by `Authorization: Basic`: the user name, without a password. Undefined when it names nobody; `unauthenticated` for what cannot be a name. */
export function userNamed(authorization: string | undefined): string | undefined {
  const [scheme = '', encoded = ''] = (authorization ?? '').split(' ', 2);
  if (scheme.toLowerCase() !== 'basic') return undefined;
  if (!/^[A-Za-z0-9+/]{0,400}={0,2}$/.test(encoded)) throw invalidUsername('');
  const [name = ''] = Buffer.from(encoded, 'base64').toString('utf8').split(':', 1);
  return name === '' ? undefined : name;
}

/** Whom the address of a file names. The Authorization header does not count there: a signature is over the address, and would otherwise be good for the files of every user. */
export function userInAddress(query: URLSearchParams): string | undefined {
  return query.get('username') || undefined;
}

/** Who acts; `unauthenticated` for one that the room cannot have. */
export function checkedName(name: string | undefined): string {
  if (name === undefined) return defaultUser;
  if (!nameForm.test(name)) throw invalidUsername(name);
  return name;
}

/** Looks up a user in the room. Problem `unauthenticated` when there is none. */
export async function accountOf(guest: GuestSession, name: string, signal: AbortSignal): Promise<Account> {
  const passwd = await readPasswd(guest, signal);
  const account = findAccount(passwd, name);
  if (!account) throw invalidUsername(name);
  return account;
}

/** passwd(5): name:password:uid:gid:comment:home:shell. The first line of a name counts. */
export function findAccount(passwd: string, name: string): Account | undefined {
  for (const line of passwd.split('\n')) {
    const [first, , , , , home] = line.split(':');
    if (first === name) return home === undefined || !home.startsWith('/') ? undefined : { name, home };
  }
  return undefined;
}

/** What is no list of accounts, or one without a bound, names nobody. */
async function readPasswd(guest: GuestSession, signal: AbortSignal): Promise<string> {
  try {
    return (await readSmallFile(guest, '/etc/passwd', passwdBytesMax, signal)) ?? '';
  } catch (error) {
    if (isProblem(error, 'file.kind') || isProblem(error, 'request.too_large')) return '';
    throw error;
  }
}

function invalidUsername(name: string): SurfaceError {
  return new SurfaceError('unauthenticated', `invalid username: '${name.slice(0, 64)}'`);
}

/** Where a path leads: `~` and relative ones start at the user's home, none at all is the home. Throws `invalid_argument`. */
export function absolutePath(path: string, home: string): string {
  if (path.includes('\0') || Buffer.byteLength(path) > limits.files.pathBytes) throw new SurfaceError('invalid_argument', 'that path is too long or has a NUL in it');
  if (path === '~' || path === '') return posix.resolve(home);
  if (path.startsWith('~/')) return posix.resolve(home, path.slice(2));
  if (path.startsWith('~')) throw new SurfaceError('invalid_argument', "cannot expand another user's home");
  return posix.resolve(home, path);
}

/** A path as one of a user's: the platform reads and writes for all of them, and what it makes is theirs. */
export interface Place {
  path: string;
  rights: FileRights;
  account: { name: string };
}

/** A user must be looked up only where its home or its being there is in question. */
export async function placeOf(guest: GuestSession, user: string | undefined, path: string, signal: AbortSignal): Promise<Place> {
  const name = checkedName(user);
  const known = path.startsWith('/') && (name === defaultUser || name === 'root');
  const account = known ? { name, home: '/' } : await accountOf(guest, name, signal);
  return { path: absolutePath(path, account.home), rights: { user: 'root', owner: name }, account: { name } };
}
