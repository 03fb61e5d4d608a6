import { routeTable } from '../../../apps/api/src/door/route';
import { makeIdentities, removeIdentities, startRig } from './rig';

/** Who may read the API's description, by ALCOVE_DOCS. The default is in test/security. */
let identities: Awaited<ReturnType<typeof makeIdentities>>;
beforeAll(async () => {
  identities = await makeIdentities([]);
});
afterAll(() => removeIdentities(identities));

it('public documents need no key, and name every route', async () => {
  const rig = await startRig(identities, { config: { docs: 'public' } });
  try {
    const page = await rig.call('GET', '/docs');
    expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
    for (const [, asset] of (await page.text()).matchAll(/(?:src|href)="([^"]+)"/g)) expect((await rig.call('GET', asset ?? '')).status).toBe(200);
    const document = (await (await rig.call('GET', '/openapi.json')).json()) as { openapi: string; paths: Record<string, Record<string, { operationId: string }>> };
    expect(document.openapi).toBe('3.1.0');
    expect(Object.values(document.paths).flatMap((methods) => Object.values(methods).map((operation) => operation.operationId)).sort()).toEqual(Object.keys(routeTable).sort());
    expect((await rig.call('GET', '/docs/swagger-ui.js')).status).toBe(404);
    expect((await rig.call('GET', '/docs/..%2f..%2fpackage.json')).status).toBe(404);
    expect((await rig.call('GET', '/metrics')).status).toBe(401);
  } finally {
    await rig.close();
  }
});

it('documents that are off are nowhere, whatever the key', async () => {
  const rig = await startRig(identities, { config: { docs: 'off' } });
  try {
    for (const path of ['/docs', '/docs/start.js', '/openapi.json']) {
      const answer = await rig.call('GET', path, { key: rig.platformKey });
      expect([answer.status, ((await answer.json()) as { code: string }).code]).toEqual([404, 'request.unknown_route']);
    }
  } finally {
    await rig.close();
  }
});
