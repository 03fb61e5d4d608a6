import type { ProblemCode, Scope } from '@alcove/contracts';
import type { z } from 'zod';
import type { RouteSpec } from '../door/route';
import { Connect, Fork, ListRunning, ListSandboxes, ListSnapshotsQuery, LogsQuery, MetricsQuery, NetworkUpdate, NewSandbox, NewSnapshot, NewTags, OldTags, Pause, Refresh, Timeout } from './shapes';

/**
 * Every route that E2B's clients are answered on, and who may ask it: a table of its own beside door/routes.ts, guarded by the same door. `…V1` are the forms that
 * older clients and the command line use.
 */

const base = { tag: 'E2B', face: 'e2b', problems: [] as ProblemCode[] } as const;
const json = <S extends z.ZodType>(schema: S): { json: S } => ({ json: schema });
const done = { status: 204, description: 'Done' } as const;
const ok = { status: 200, description: 'As E2B answers it' } as const;
const made = { status: 201, description: 'As E2B answers it' } as const;

/** What is not served here: for the same scope that the real thing would need. */
const not = <M extends RouteSpec['method'], P extends string>(method: M, path: P, access: Scope = 'rooms:write') => ({ ...base, method, path, access, summary: 'Not served here', query: 'any', answer: ok }) as const;

export const e2bRoutes = {
  e2bCreate: { ...base, method: 'POST', path: '/v2/sandboxes', summary: 'Create a sandbox', access: 'rooms:write', body: json(NewSandbox), answer: made },
  e2bCreateV1: { ...base, method: 'POST', path: '/sandboxes', summary: 'Create a sandbox', access: 'rooms:write', body: json(NewSandbox), answer: made },
  e2bList: { ...base, method: 'GET', path: '/v2/sandboxes', summary: 'List sandboxes', access: 'rooms:read', query: ListSandboxes, answer: ok },
  e2bListV1: { ...base, method: 'GET', path: '/sandboxes', summary: 'List running sandboxes', access: 'rooms:read', query: ListRunning, answer: ok },
  e2bGet: { ...base, method: 'GET', path: '/sandboxes/:sandboxId', summary: 'Get a sandbox', access: 'rooms:read', answer: ok },
  e2bKill: { ...base, method: 'DELETE', path: '/sandboxes/:sandboxId', summary: 'Kill a sandbox', access: 'rooms:write', answer: done },
  e2bConnect: { ...base, method: 'POST', path: '/v2/sandboxes/:sandboxId/connect', summary: 'Connect to a sandbox', access: 'rooms:write', body: json(Connect), answer: ok },
  e2bConnectV1: { ...base, method: 'POST', path: '/sandboxes/:sandboxId/connect', summary: 'Connect to a sandbox', access: 'rooms:write', body: json(Connect), answer: ok },
  e2bResumeV1: { ...base, method: 'POST', path: '/sandboxes/:sandboxId/resume', summary: 'Resume a sandbox', access: 'rooms:write', body: json(Connect), answer: made },
  e2bPause: { ...base, method: 'POST', path: '/sandboxes/:sandboxId/pause', summary: 'Pause a sandbox', access: 'rooms:write', body: json(Pause), answer: done },
  e2bTimeout: { ...base, method: 'POST', path: '/sandboxes/:sandboxId/timeout', summary: 'Say when a sandbox ends', access: 'rooms:write', body: json(Timeout), answer: done },
  e2bRefreshV1: { ...base, method: 'POST', path: '/sandboxes/:sandboxId/refreshes', summary: 'Keep a sandbox for longer', access: 'rooms:write', body: json(Refresh), answer: done },
  e2bMetrics: { ...base, method: 'GET', path: '/sandboxes/:sandboxId/metrics', summary: 'What a sandbox uses', access: 'rooms:read', query: MetricsQuery, answer: ok },
  e2bLogsV1: { ...base, method: 'GET', path: '/sandboxes/:sandboxId/logs', summary: 'What happened to a sandbox', access: 'rooms:read', query: LogsQuery, answer: ok },
  e2bNetwork: { ...base, method: 'PUT', path: '/sandboxes/:sandboxId/network', summary: "Replace a sandbox's way out", access: 'rooms:write', body: json(NetworkUpdate), answer: done },
  e2bSnapshot: { ...base, method: 'POST', path: '/sandboxes/:sandboxId/snapshots', summary: 'Take a snapshot', access: 'rooms:write', body: json(NewSnapshot), answer: made },
  e2bFork: { ...base, method: 'POST', path: '/sandboxes/:sandboxId/fork', summary: 'Fork a sandbox', access: 'rooms:write', body: json(Fork), answer: made },
  e2bListSnapshots: { ...base, method: 'GET', path: '/snapshots', summary: 'List snapshots', access: 'rooms:read', query: ListSnapshotsQuery, answer: ok },
  e2bRemoveTemplate: { ...base, method: 'DELETE', path: '/templates/:templateId', summary: 'Remove a snapshot', access: 'rooms:write', answer: done },
  e2bTemplateAlias: { ...base, method: 'GET', path: '/templates/aliases/:alias', summary: 'Is there such a template', access: 'rooms:read', answer: ok },
  e2bTemplatesV1: { ...base, method: 'GET', path: '/templates', summary: 'List templates', access: 'rooms:read', answer: ok },
  e2bTag: { ...base, method: 'POST', path: '/templates/tags', summary: 'Give tags to a version of a template', access: 'rooms:write', body: json(NewTags), answer: made },
  e2bUntag: { ...base, method: 'DELETE', path: '/templates/tags', summary: 'Take tags away', access: 'rooms:write', body: json(OldTags), answer: done },
  e2bTags: { ...base, method: 'GET', path: '/templates/:templateId/tags', summary: "List a template's tags", access: 'rooms:read', answer: ok },
  e2bTeamsV1: { ...base, method: 'GET', path: '/teams', summary: 'List teams: there is one', access: 'rooms:read', answer: ok },

  e2bNoTemplate: not('GET', '/templates/:templateId', 'rooms:read'),
  e2bNoUpload: not('GET', '/templates/:templateId/files/:hash'),
  e2bNoBuildStatus: not('GET', '/templates/:templateId/builds/:buildId/status', 'rooms:read'),
  e2bNoBuildLogs: not('GET', '/templates/:templateId/builds/:buildId/logs', 'rooms:read'),
  e2bNoTemplates: not('ALL', '/v2/templates'),
  e2bNoTemplateParts: not('ALL', '/v2/templates/*'),
  e2bNoBuild: not('ALL', '/v3/templates'),
  e2bNoBuildParts: not('ALL', '/v3/templates/*'),
  e2bNoVolumes: not('ALL', '/volumes'),
  e2bNoVolume: not('ALL', '/volumes/*'),
  e2bNoVolumeContent: not('ALL', '/volumecontent/*'),
  e2bNoSecrets: not('ALL', '/secrets'),
  e2bNoSecret: not('ALL', '/secrets/*'),
  e2bNoTeamMetrics: not('GET', '/teams/*', 'rooms:read'),
} as const satisfies Record<string, RouteSpec>;
