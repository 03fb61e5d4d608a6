import { isIP } from 'node:net';
import { BadSettings, ListenAddress, LogLevel, readSettings, readTlsIdentity, roomIdOf, tlsSettings, type TlsIdentity } from '@alcove/contracts';
import { readFileSync } from 'node:fs';
import { errorCode, type RoomId } from '@alcove/base';
import { z } from 'zod';

const path = z.string().startsWith('/', 'must be an absolute path');

/** The domain below which rooms are reached. A port is what clients are told to use; the edge itself looks at the name only. */
const Domain = z.string().transform((text, context): string => {
  const name = text.toLowerCase().replace(/:\d{1,5}$/, '');
  const labels = name.split('.');
  if (name.length <= 190 && labels.length >= 2 && isIP(name) === 0 && labels.every((label) => /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(label))) return name;
  context.addIssue({ code: 'custom', message: 'must be a domain of two labels or more, such as rooms.example.com or alcove.test:8443' });
  return z.NEVER;
});

const LoopbackUrl = z.url({ protocol: /^http$/, error: 'must be an http:// address' }).refine((url) => isLoopback(new URL(url).hostname), 'must be on loopback: keys are sent there in plain text');

/** A room by either of its names: room_… or i…. */
const DebugRoom = z.string().transform((text, context): RoomId => {
  const room = roomIdOf(text.replace(/^room_/, 'i'));
  if (room) return room;
  context.addIssue({ code: 'custom', message: 'must be the id of a room' });
  return z.NEVER;
});

/** Every setting of the edge. */
export const EdgeSettings = z.strictObject({
  ALCOVE_EDGE_LISTEN: ListenAddress,
  ALCOVE_EDGE_DOMAIN: Domain,
  /** The certificate that clients see: for `*.<domain>`, with the chain behind it, in PEM. Read again at SIGHUP. */
  ALCOVE_EDGE_CERT: path,
  ALCOVE_EDGE_KEY: path,
  ALCOVE_API_URL: LoopbackUrl,
  ALCOVE_CONTROL_URL: z.url({ protocol: /^https$/, error: 'must be an https:// address' }),
  /** One room whose surface is served without its token, over plain HTTP: for E2B_DEBUG. */
  ALCOVE_EDGE_DEBUG_ROOM: DebugRoom.optional(),
  ALCOVE_EDGE_DEBUG_LISTEN: ListenAddress.default({ host: '127.0.0.1', port: 49_983 }).refine(({ host }) => isLoopback(host), 'must be a loopback address: it asks for no token'),
  /** `yes`: everybody comes by way of a proxy that has bounds of its own, so what one address may have open is not bounded here. */
  ALCOVE_EDGE_BEHIND_PROXY: z.enum(['yes', 'no']).default('no'),
  ALCOVE_LOG_LEVEL: LogLevel.default('info'),
  ...tlsSettings,
});

export interface PublicCertificate {
  readonly cert: Buffer;
  readonly key: Buffer;
}

export interface EdgeConfig {
  readonly listen: ListenAddress;
  readonly domain: string;
  readonly apiUrl: URL;
  readonly controlUrl: string;
  /** Whom the edge is towards the control plane and the hosts. */
  readonly tls: TlsIdentity;
  readonly debug: { readonly room: RoomId; readonly listen: ListenAddress } | null;
  readonly behindProxy: boolean;
  readonly logLevel: string;
  /** Reads the certificate that clients see. Throws BadSettings. */
  certificate(): PublicCertificate;
}

/** The edge's configuration. Throws BadSettings: also for an ALCOVE_ name that is none of its settings, for it may be a mistyped one. */
export function edgeConfig(environment: NodeJS.ProcessEnv = process.env): EdgeConfig {
  const { settings, unknown } = readSettings(EdgeSettings, environment);
  if (unknown.length > 0) throw new BadSettings(`${unknown.join(', ')}: no such setting`);
  const room = settings.ALCOVE_EDGE_DEBUG_ROOM;
  const read = (name: 'ALCOVE_EDGE_CERT' | 'ALCOVE_EDGE_KEY'): Buffer => {
    try {
      return readFileSync(settings[name]);
    } catch (error) {
      throw new BadSettings(`${name}: ${settings[name]} cannot be read (${errorCode(error) ?? 'unknown'})`);
    }
  };
  return {
    listen: settings.ALCOVE_EDGE_LISTEN,
    domain: settings.ALCOVE_EDGE_DOMAIN,
    apiUrl: new URL(settings.ALCOVE_API_URL),
    controlUrl: settings.ALCOVE_CONTROL_URL,
    tls: readTlsIdentity(settings),
    debug: room === undefined ? null : { room, listen: settings.ALCOVE_EDGE_DEBUG_LISTEN },
    behindProxy: settings.ALCOVE_EDGE_BEHIND_PROXY === 'yes',
    logLevel: settings.ALCOVE_LOG_LEVEL,
    certificate: () => ({ cert: read('ALCOVE_EDGE_CERT'), key: read('ALCOVE_EDGE_KEY') }),
  };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || (isIP(host) === 4 && host.startsWith('127.'));
}
