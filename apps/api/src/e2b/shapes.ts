import { limits } from '@alcove/base';
import { EnvVars, Metadata } from '@alcove/contracts';
import { z } from 'zod';

/**
 * What E2B's clients send and get, as far as anything is done with it: their names, their units (seconds, MB). Objects are not strict, because a newer client knows more
 * than we do; what is not known is said in the log and otherwise passed over.
 */

/** Seconds. */
const seconds = z.int().min(1).max(Math.floor(limits.room.timeoutMsMax / 1000));
const text = (chars: number) => z.string().max(chars);
const pageSize = 100;
const list = z.array(text(limits.room.networkTargetChars)).max(limits.room.networkTargets);

const rule = z.object({ transform: z.object({ headers: z.record(text(256), text(4096)).optional() }).nullish() });
const egress = {
  allow_internet_access: z.boolean().nullish(),
  allowOut: list.nullish(),
  denyOut: list.nullish(),
  rules: z.record(text(limits.room.networkTargetChars), z.array(rule).max(limits.room.networkRules)).nullish(),
  egressProxy: z.object({ address: text(256) }).nullish(),
};
export const NetworkUpdate = z.object(egress);
export type NetworkUpdate = z.infer<typeof NetworkUpdate>;

export const NetworkConfig = z.object({
  ...egress,
  allowPublicTraffic: z.boolean().nullish(),
  maskRequestHost: text(limits.room.networkTargetChars).nullish(),
  httpsPorts: z.array(z.int().min(1).max(65_535)).max(limits.room.networkTargets).nullish(),
});
export type NetworkConfig = z.infer<typeof NetworkConfig>;

export const NewSandbox = z.object({
  templateID: text(256).min(1),
  timeout: seconds.nullish(),
  metadata: Metadata.nullish(),
  envVars: EnvVars.nullish(),
  allow_internet_access: z.boolean().nullish(),
  network: NetworkConfig.nullish(),
  autoPause: z.boolean().nullish(),
  autoPauseMemory: z.boolean().nullish(),
  autoResume: z.object({ enabled: z.boolean() }).nullish(),
  /** The client starts its gateway itself. */
  mcp: z.unknown().optional(),
  secure: z.boolean().nullish(),
  iam: z.object({ tokens: z.record(text(256), z.unknown()).nullish() }).nullish(),
  volumeMounts: z.array(z.unknown()).max(limits.room.networkTargets).nullish(),
});
export type NewSandbox = z.infer<typeof NewSandbox>;

export const Connect = z.object({ timeout: seconds.nullish(), memory: z.boolean().nullish() });
export type Connect = z.infer<typeof Connect>;
export const Pause = z.object({ memory: z.boolean().nullish(), mode: z.enum(['full', 'filesystem']).nullish() });
/** 0: now. */
export const Timeout = z.object({ timeout: z.int().min(0).max(Math.floor(limits.room.timeoutMsMax / 1000)) });
export const Refresh = z.object({ duration: z.int().min(0).max(3600).nullish() });
export const Fork = z.object({ timeout: seconds.nullish(), count: z.int().min(1).max(limits.room.forks).nullish() });
export const NewSnapshot = z.object({ name: text(limits.room.snapshotNameChars).min(1).nullish(), mode: z.enum(['full', 'filesystem']).nullish() });
const tags = z.array(z.string().max(limits.template.tagChars).regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/)).min(1).max(limits.template.tagsPerCall);
export const NewTags = z.object({ target: text(256).min(1), tags });
export const OldTags = z.object({ name: text(256).min(1), tags });

const limit = z.coerce.number().int().min(1).max(pageSize).default(pageSize);
const nextToken = text(512).optional();
/** One value, some in one text, or a parameter that comes more than once. */
const several = z.union([text(512), z.array(text(512)).max(8)]).transform((value) => [value].flat().flatMap((part) => part.split(',')).filter((part) => part !== ''));

export const ListSandboxes = z.object({
  metadata: text(16 << 10).optional(),
  state: several.pipe(z.array(z.enum(['running', 'paused'])).max(8)).optional(),
  startedAfter: z.iso.datetime({ offset: true }).optional(),
  template: text(256).optional(),
  order: z.enum(['asc', 'desc']).default('desc'),
  limit,
  nextToken,
});
export type ListSandboxes = z.infer<typeof ListSandboxes>;
export const ListRunning = z.object({ metadata: text(16 << 10).optional() });
export const ListSnapshotsQuery = z.object({ sandboxID: text(64).optional(), name: text(512).optional(), limit, nextToken });
const unixSeconds = z.coerce.number().int().min(0).max(2 ** 40);
export const MetricsQuery = z.object({ start: unixSeconds.optional(), end: unixSeconds.optional() });
/** `start`: milliseconds since 1970. */
export const LogsQuery = z.object({ start: z.coerce.number().int().min(0).max(2 ** 50).optional(), limit: z.coerce.number().int().min(0).max(1000).default(1000) });

export interface Sandbox {
  readonly sandboxID: string;
  readonly templateID: string;
  readonly alias: string;
  readonly clientID: string;
  readonly envdVersion: string;
  readonly envdAccessToken: string;
  readonly trafficAccessToken: string | null;
  readonly domain: string | null;
}

export interface ListedSandbox {
  readonly sandboxID: string;
  readonly templateID: string;
  readonly alias: string;
  readonly clientID: string;
  readonly envdVersion: string;
  readonly startedAt: string;
  readonly endAt: string;
  readonly state: 'running' | 'paused';
  readonly cpuCount: number;
  readonly memoryMB: number;
  readonly diskSizeMB: number;
  readonly metadata: Readonly<Record<string, string>>;
  readonly volumeMounts: readonly never[];
}
