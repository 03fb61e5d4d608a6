import { lookup, type LookupAddress } from 'node:dns';
import { request } from 'node:https';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { Readable } from 'node:stream';
import type { HttpFetch } from './http';

/** Addresses that are not of the public Internet (IANA's special-purpose registries, RFC 6890). Of IPv6 only 2000::/3 is public at all. */
const special = new BlockList();
for (const [net, bits] of [
  ['0.0.0.0', 8], ['10.0.0.0', 8], ['100.64.0.0', 10], ['127.0.0.0', 8], ['169.254.0.0', 16], ['172.16.0.0', 12], ['192.0.0.0', 24], ['192.0.2.0', 24], ['192.88.99.0', 24],
  ['192.168.0.0', 16], ['198.18.0.0', 15], ['198.51.100.0', 24], ['203.0.113.0', 24], ['224.0.0.0', 4], ['240.0.0.0', 4],
] as const) special.addSubnet(net, bits, 'ipv4');
for (const [net, bits] of [['2001::', 23], ['2001:db8::', 32], ['2002::', 16], ['3fff::', 20]] as const) special.addSubnet(net, bits, 'ipv6');
const global6 = new BlockList();
global6.addSubnet('2000::', 3, 'ipv6');

/** Whether an address (as text) is of the public Internet. */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !special.check(address, 'ipv4');
  return family === 6 && global6.check(address, 'ipv6') && !special.check(address, 'ipv6');
}

/** The addresses of a name, refused as a whole when one of them is not public; what was checked is what is connected to. */
const publicLookup: LookupFunction = (hostname, options, done) => {
  lookup(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
    if (error) return done(error, '');
    const [first] = addresses;
    if (!first || !addresses.every(({ address }) => isPublicAddress(address))) return done(new Error(`${hostname} is not at a public address`), '');
    return options.all ? done(null, addresses) : done(null, first.address, first.family);
  });
};

/**
 * `fetch` for addresses that a tenant gave: HTTPS only, to public addresses only, so that nobody can make this process ask its own network or the cloud's metadata
 * service. Follows no redirect and no proxy setting.
 */
export const publicFetch: HttpFetch = (text, { method, headers, body, signal }) =>
  new Promise<Response>((resolve, reject) => {
    const url = new URL(text);
    const host = url.hostname.replace(/^\[|\]$/g, '');
    if (url.protocol !== 'https:') return reject(new Error('only HTTPS is spoken with a provider of a tenant'));
    // An address in the URL is never looked up, so it is checked here.
    if (isIP(host) !== 0 && !isPublicAddress(host)) return reject(new Error(`${host} is not a public address`));
    const asked = request(url, { method, headers: { ...headers, ...(body !== undefined && { 'content-length': String(Buffer.byteLength(body)) }) }, signal, lookup: publicLookup, agent: false }, (answer) => {
      const status = answer.statusCode ?? 502;
      const empty = status < 200 || [204, 205, 304].includes(status);
      resolve(new Response(empty ? null : (Readable.toWeb(answer) as ReadableStream<Uint8Array>), { status: Math.min(599, Math.max(200, status)) }));
      if (empty) answer.resume();
    });
    asked.once('error', reject);
    asked.end(body);
  });
