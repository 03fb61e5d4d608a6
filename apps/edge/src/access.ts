import { createHash, timingSafeEqual } from 'node:crypto';

/** May this request have the room's surface? Pure. `open`: without a token, so it must not wake anything. */
export type Access = { readonly kind: 'shown' } | { readonly kind: 'open' } | { readonly kind: 'refused'; readonly message: string };

export interface SurfaceAsked {
  readonly method: string;
  readonly pathname: string;
  readonly query: URLSearchParams;
  /** The X-Access-Token header; empty counts as absent. */
  readonly token: string | undefined;
}

const shown: Access = { kind: 'shown' };
const signedNames = ['path', 'username', 'signature', 'signature_expiration'];

/** What the guest agent of that field takes from its host only: nobody has business with it from outside. */
const controlRoutes = new Set(['/init', '/freeze', '/unfreeze', '/fsfreeze', '/fsthaw', '/collapse', '/upgrade']);

/** True for a control route however it is written. */
export function isControlRoute(pathname: string): boolean {
  const [first = ''] = decoded(pathname).toLowerCase().split('/').filter(Boolean);
  return controlRoutes.has(`/${first.split(/[;?#]/)[0]}`);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A token in the header decides, right or wrong; without one files are had by a signed address; health is had by everybody. `nowS`: seconds since 1970. */
export function surfaceAccess(asked: SurfaceAsked, token: string, nowS: number): Access {
  if (asked.token && sameText(asked.token, token)) return shown;
  if (asked.pathname === '/health' && (asked.method === 'GET' || asked.method === 'HEAD')) return { kind: 'open' };
  if (asked.token) return { kind: 'refused', message: 'access token present in header but does not match' };
  if (asked.pathname === '/files' && (asked.method === 'GET' || asked.method === 'POST')) return signedAccess(asked, token, nowS);
  return { kind: 'refused', message: 'unauthorized access, please provide a valid access token or method signing if supported' };
}

function signedAccess({ method, query }: SurfaceAsked, token: string, nowS: number): Access {
  const given = query.get('signature');
  if (given === null || given === '') return { kind: 'refused', message: 'missing signature query parameter' };
  // Given twice, one might be checked and the other used.
  const ambiguous = signedNames.some((name) => query.getAll(name).length > 1);
  const expiration = query.get('signature_expiration');
  const malformed = expiration !== null && !/^-?\d{1,15}$/.test(expiration);
  const operation = method === 'GET' ? 'read' : 'write';
  const expected = signatureOf({ path: query.get('path') ?? '', operation, user: query.get('username') ?? '', token, expiration });
  if (ambiguous || malformed || !sameText(given, expected)) return { kind: 'refused', message: 'invalid signature' };
  if (expiration !== null && Number(expiration) < nowS) return { kind: 'refused', message: 'signature is already expired' };
  return shown;
}

export interface Signed {
  readonly path: string;
  readonly operation: 'read' | 'write';
  readonly user: string;
  readonly token: string;
  /** Seconds since 1970, as written; null: for ever. */
  readonly expiration: string | null;
}

/** The signature of an address of a file, as the published SDK makes it: v1_ and SHA-256 in base64 without padding. */
export function signatureOf({ path, operation, user, token, expiration }: Signed): string {
  const text = [path, operation, user, token, ...(expiration === null ? [] : [expiration])].join(':');
  return `v1_${createHash('sha256').update(text).digest('base64').replace(/=+$/, '')}`;
}

/** Equal, in a time that says nothing of where they differ or how long the secret is. */
export function sameText(given: string, secret: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(secret));
}
