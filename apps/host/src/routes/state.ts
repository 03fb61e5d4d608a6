import type { HostState } from '@alcove/contracts';
import { sendJson } from '../http/answer';
import type { Route } from '../http/server';
import type { HostMetrics } from '../metrics';

/** `GET /state`: what a beat says, on demand. `GET /metrics`: Prometheus text. Both for the control plane's certificate only, as everything here. */
export function stateRoutes(read: () => Promise<HostState>, metrics: HostMetrics): Route[] {
  return [
    { method: 'GET', path: '/state', handle: async ({ response }) => sendJson(response, 200, await read()) },
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
