import type { HostState } from '@alcove/contracts';
import { z } from 'zod';
import { readQuery, sendJson } from '../http/answer';
import type { Route } from '../http/server';
import type { HostMetrics } from '../metrics';

const StateQuery = z.strictObject({ memory: z.stringbool().default(false) });

/** `GET /state`: what a beat says, on demand; `?memory=true` adds what each running room costs. `GET /metrics`: Prometheus text. Both for the control plane's certificate only, as everything here. */
export function stateRoutes(read: (memory: boolean) => Promise<HostState>, metrics: HostMetrics): Route[] {
  return [
    { method: 'GET', path: '/state', handle: async ({ query, response }) => sendJson(response, 200, await read(readQuery(query, StateQuery).memory)) },
    {
      method: 'GET',
      path: '/metrics',
      handle: async ({ response }) => {
        const text = await metrics.registry.metrics();
        response.writeHead(200, { 'content-type': metrics.registry.contentType }).end(text);
      },
    },
  ];
}
