import { percentOfAll, Problem, sandboxIdOf, UserId, type CreateRoom, type Room, type RoomAccess, type RoomFigures, type RoomLifecycle, type RoomNetwork, type RoomState } from '@alcove/contracts';
import type { ListedSandbox, NetworkConfig, NetworkUpdate, NewSandbox, Sandbox } from './shapes';

/** Between E2B's words and ours: no decision about rooms, and nothing that asks anybody. */

/**
 * Which of envd's abilities a client may count on, as the version of envd that first had them all: the guest surface serves those of the protocol as it is in the
 * published SDK, which tells old versions from new ones by this number alone.
 */
export const envdVersion = '0.6.13';

/** Required by the protocol, and of no meaning since long. */
const clientID = 'alcove';
/** Of a room that does not end by itself: the protocol has no word for it. */
const never = '9999-12-31T23:59:59.999Z';
const second = 1000;

const pausedStates: ReadonlySet<RoomState> = new Set(['hibernating', 'hibernated', 'failed']);
/** The states of ours that are one of theirs, for a list. */
export const statesOf: Readonly<Record<ListedSandbox['state'], RoomState[]>> = {
  running: ['provisioning', 'running', 'resuming'],
  paused: [...pausedStates],
};

export function stateOf(room: Pick<Room, 'state'>): ListedSandbox['state'] {
  return pausedStates.has(room.state) ? 'paused' : 'running';
}

/** What every answer about a sandbox begins with. */
function namesOf({ id, templateId, template }: Room): Pick<Sandbox, 'sandboxID' | 'templateID' | 'alias' | 'clientID' | 'envdVersion'> {
  return { sandboxID: sandboxIdOf(id), templateID: templateId, alias: template, clientID, envdVersion };
}

export function toSandbox(room: Room, access: RoomAccess, domain: string | null): Sandbox {
  return {
    ...namesOf(room),
    envdAccessToken: access.surface,
    trafficAccessToken: access.traffic,
    domain,
  };
}

export function toListed(room: Room): ListedSandbox {
  return {
    ...namesOf(room),
    startedAt: room.createdAt,
    // Of one that sleeps: when it began to, for then its time was over.
    endAt: room.endsAt ?? (stateOf(room) === 'paused' ? room.stateSince : never),
    state: stateOf(room),
    cpuCount: room.size.vcpus,
    memoryMB: room.size.memoryMiB,
    diskSizeMB: room.size.diskMiB,
    metadata: room.metadata,
    volumeMounts: [],
  };
}

/** `alcove`: what E2B's clients do not ask for and people may want to know. */
export function toDetail(room: Room, access: RoomAccess, domain: string | null): Record<string, unknown> {
  const { network, lifecycle } = room;
  const { allowOut, denyOut, rules, allowPublicTraffic, maskRequestHost, allowInternetAccess } = network;
  return {
    ...toListed(room),
    domain,
    envdAccessToken: access.surface,
    allowInternetAccess,
    network: { allowOut, denyOut, rules, allowPublicTraffic, ...(maskRequestHost === null ? {} : { maskRequestHost }) },
    lifecycle: { onTimeout: lifecycle.onTimeout, autoResume: lifecycle.autoResume },
    alcove: { roomId: room.id, userId: room.userId, state: room.state, generation: room.generation, resumedFrom: room.resumedFrom, failure: room.failure },
  };
}

/** One moment of a room as E2B's API tells it. */
export function toMetric(figures: RoomFigures): Record<string, unknown> {
  const { at, cpuCount, memUsed, memTotal, memCache, diskUsed, diskTotal } = figures;
  return { timestamp: at, timestampUnix: Math.floor(Date.parse(at) / second), cpuCount, cpuUsedPct: percentOfAll(figures), memUsed, memTotal, memCache, diskUsed, diskTotal };
}

/** Only what the caller said: the rest is the tenant's to decide. Throws request.invalid for what contradicts itself, unsupported for what is not to be had. */
export function lifecycleOf(asked: Pick<NewSandbox, 'timeout' | 'autoPause' | 'autoPauseMemory' | 'autoResume'>): Partial<RoomLifecycle> {
  const { timeout, autoPause, autoPauseMemory, autoResume } = asked;
  if (autoResume?.enabled && autoPauseMemory === false) {
    throw new Problem('request.invalid', { detail: 'autoResume needs the memory that autoPauseMemory: false drops: such a sandbox is resumed by connect only' });
  }
  return {
    ...(timeout == null ? {} : { timeoutMs: timeout * second }),
    ...(autoPause == null ? {} : { onTimeout: autoPause ? 'pause' : 'kill' }),
    ...(autoPauseMemory == null ? {} : { keepMemory: autoPauseMemory }),
    ...(autoResume == null ? {} : { autoResume: autoResume.enabled }),
  };
}

/** What a replacement of the way out leaves behind: all that it does not name is cleared. */
export function egressOf(asked: NetworkUpdate): Pick<RoomNetwork, 'allowInternetAccess' | 'allowOut' | 'denyOut' | 'rules' | 'egressProxy'> {
  if (asked.egressProxy) throw new Problem('unsupported', { detail: 'A proxy for the way out is not served here.' });
  const rules = Object.entries(asked.rules ?? {}).map(([host, ofHost]): [string, RoomNetwork['rules'][string]] => [host.toLowerCase(), ofHost.map(({ transform }) => ({ transform: { headers: transform?.headers ?? {} } }))]);
  return { allowInternetAccess: asked.allow_internet_access ?? null, allowOut: asked.allowOut ?? [], denyOut: asked.denyOut ?? [], rules: Object.fromEntries(rules), egressProxy: null };
}

/** Undefined where nothing was said of it. */
export function networkOf(asked: Pick<NewSandbox, 'network' | 'allow_internet_access'>): Partial<RoomNetwork> | undefined {
  const given: NetworkConfig | null | undefined = asked.network;
  const internet = asked.allow_internet_access ?? given?.allow_internet_access;
  if (!given) return internet == null ? undefined : { allowInternetAccess: internet };
  if (given.httpsPorts && given.httpsPorts.length > 0) throw new Problem('unsupported', { detail: 'Ports that speak TLS themselves are not served here.' });
  return {
    ...egressOf({ ...given, allow_internet_access: internet }),
    ...(given.allowPublicTraffic == null ? {} : { allowPublicTraffic: given.allowPublicTraffic }),
    ...(given.maskRequestHost == null ? {} : { maskRequestHost: given.maskRequestHost }),
  };
}

/** Whose room it is to be: that of the user that the metadata name, if that can be the name of one; else of the key's own. */
export function ownerOf(metadata: Readonly<Record<string, string>> | null | undefined, otherwise: string): string {
  const named = UserId.safeParse(metadata?.['userId']);
  return named.success ? named.data : otherwise;
}

/** A new sandbox as a new room, but for what it starts from. */
export function toCreateRoom(asked: NewSandbox, owner: string): CreateRoom {
  if (asked.volumeMounts && asked.volumeMounts.length > 0) throw new Problem('unsupported', { detail: 'Volumes are not served here.' });
  if (Object.keys(asked.iam?.tokens ?? {}).length > 0) throw new Problem('unsupported', { detail: 'Workload identities are not served here.' });
  const network = networkOf(asked);
  return {
    userId: ownerOf(asked.metadata, owner),
    kind: 'sandbox',
    lifecycle: lifecycleOf(asked),
    ...(network === undefined ? {} : { network }),
    ...(asked.metadata == null ? {} : { metadata: asked.metadata }),
    ...(asked.envVars == null ? {} : { env: asked.envVars }),
  };
}

/**
 * The filter of a list: a query string whose names and values were encoded once more before they went into it. Throws request.invalid for what cannot be read.
 */
export function metadataFilter(encoded: string): Record<string, string> {
  const invalid = (message: string, cause?: unknown) => new Problem('request.invalid', { errors: [{ path: 'query.metadata', message }], cause });
  const pairs: [string, string][] = [];
  try {
    for (const [name, value] of new URLSearchParams(encoded)) pairs.push([decodeURIComponent(name), decodeURIComponent(value)]);
  } catch (cause) {
    throw invalid('not a query string whose names and values are URL-encoded', cause);
  }
  // The door saw it encoded still.
  if (pairs.flat().some((text) => text.includes('\0'))) throw invalid('a text holds a NUL character');
  return Object.fromEntries(pairs);
}
