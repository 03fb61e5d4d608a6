import { createServer, type Server } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { Secret } from '@alcove/base';
import { Problem, type EnsureRunning, type TlsIdentity } from '@alcove/contracts';
import { HttpsHostClient, type HostAddress } from '@alcove/fleet';
import { ensureCertificates, tlsFiles } from '../../../apps/cli/src/setup/certificates';

/** The client of the host API against a real TLS server that answers as the test says. */
const roomId = `room_${'1'.repeat(20)}`;
const room = { roomId, incarnation: 3 };
const order: EnsureRunning = { operationId: 'o', templateId: 't', size: { memoryMiB: 1, vcpus: 1, diskMiB: 1 }, image: null, previous: null, hasDisk: false, keys: { image: '', disk: '' }, env: {} };
const report = { roomId, incarnation: 3, sequence: 1, resumedFrom: 'new', fallbacks: [], isolation: 'software', accelerator: 'none', bootAttempts: 1, durationMs: 1, steps: {} };

let folder: string;
let server: Server;
let client: HttpsHostClient;
let host: HostAddress;
let answer: (request: IncomingMessage, response: ServerResponse) => void;
const sockets = new Set<unknown>();

function identity(name: string): TlsIdentity {
  const files = tlsFiles(folder, name);
  return { ca: readFileSync(files.ca, 'utf8'), cert: readFileSync(files.cert, 'utf8'), key: new Secret(readFileSync(files.key, 'utf8')) };
}

function json(response: ServerResponse, status: number, body: unknown, type = 'application/json'): void {
  response.writeHead(status, { 'content-type': type });
  response.end(JSON.stringify(body));
}

function refuse(response: ServerResponse, problem: Problem): void {
  json(response, problem.status, problem.toBody(), 'application/problem+json');
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'alcove-host-client-'));
  await ensureCertificates(folder, ['control-plane', 'host-a', 'host-b']);
  const { ca, cert, key } = identity('host-a');
  server = createServer({ ca, cert, key: key.expose(), requestCert: true, rejectUnauthorized: true }, (request, response) => {
    sockets.add(request.socket);
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  host = { id: 'host-a', url: `https://127.0.0.1:${(server.address() as AddressInfo).port}` };
  client = new HttpsHostClient(identity('control-plane'));
});
afterAll(async () => {
  await client.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true });
});

describe('a verb', () => {
  it('sends the order, checks the answer, and keeps the connection', async () => {
    const seen: { method?: string; url?: string; body: string }[] = [];
    answer = (request, response) => void text(request).then((body) => (seen.push({ method: request.method ?? '', url: request.url ?? '', body }), json(response, 200, report)));
    expect(await client.ensureRunning(host, room, order)).toEqual(report);
    expect(await client.ensureRunning(host, room, order)).toEqual(report);
    expect(seen[0]).toMatchObject({ method: 'PUT', url: `/rooms/${roomId}/incarnations/3/running` });
    expect(JSON.parse(seen[0]?.body ?? '')).toEqual(order);
    expect(sockets.size).toBe(1);
  });

  it("throws the host's own problem", async () => {
    answer = (_request, response) => refuse(response, new Problem('incarnation.stale', { detail: 'incarnation 4 is known here' }));
    await expect(client.ensureGone(host, room, { operationId: 'o', reason: 'r', discard: false })).rejects.toMatchObject({ code: 'incarnation.stale', detail: 'incarnation 4 is known here' });
  });

  it('says host.unavailable to an answer that makes no sense', async () => {
    answer = (_request, response) => json(response, 200, { ...report, incarnation: 'three' });
    await expect(client.ensureRunning(host, room, order)).rejects.toMatchObject({ code: 'host.unavailable' });
    answer = (_request, response) => json(response, 500, { code: 'no such code' });
    await expect(client.ensureRunning(host, room, order)).rejects.toMatchObject({ code: 'host.unavailable' });
    answer = (_request, response) => void response.destroy();
    await expect(client.ensureRunning(host, room, order)).rejects.toMatchObject({ code: 'host.unavailable' });
  });

  it('says host.unavailable when nobody is there, or somebody else', async () => {
    await expect(client.state({ id: 'host-a', url: 'https://127.0.0.1:1' })).rejects.toMatchObject({ code: 'host.unavailable' });
    answer = (_request, response) => json(response, 200, report);
    await expect(client.ensureRunning({ ...host, id: 'host-b' }, room, order)).rejects.toMatchObject({ code: 'host.unavailable' });
  });

  it("ends with its caller's own reason", async () => {
    const caller = new AbortController();
    answer = () => caller.abort(new Problem('room.busy'));
    await expect(client.ensureRunning(host, room, order, caller.signal)).rejects.toMatchObject({ code: 'room.busy' });
  });
});

describe('a stream', () => {
  it('passes bodies both ways and takes any status that is the agent’s own', async () => {
    answer = (request, response) => {
      response.writeHead(418, { 'content-type': 'text/plain', 'alcove-source': 'agent' });
      request.pipe(response);
    };
    const given = await client.stream({ host, ...room, method: 'POST', path: 'invocations', headers: { 'content-type': 'text/plain' }, body: Readable.from(['a', 'b']) });
    expect([given.status, given.headers['content-type'], await text(given.body)]).toEqual([418, 'text/plain', 'ab']);
  });

  it("throws the host's problem, and says stale to a room that does not run there", async () => {
    answer = (_request, response) => refuse(response, new Problem('file.not_found'));
    await expect(client.stream({ host, ...room, method: 'GET', path: 'files?path=%2Fx' })).rejects.toMatchObject({ code: 'file.not_found' });
    answer = (_request, response) => refuse(response, new Problem('room.not_running'));
    await expect(client.stream({ host, ...room, method: 'GET', path: 'logs' })).rejects.toMatchObject({ code: 'incarnation.stale' });
  });

  it('says guest.closed when the connection breaks before the answer', async () => {
    answer = (_request, response) => void response.destroy();
    await expect(client.stream({ host, ...room, method: 'POST', path: 'exec', body: '{}' })).rejects.toMatchObject({ code: 'guest.closed' });
  });

  it('ends on the host when its caller goes away', async () => {
    const caller = new AbortController();
    const closed = new Promise<void>((resolve) => {
      answer = (_request, response) => {
        response.on('close', () => resolve());
        response.writeHead(200);
        response.write('first');
      };
    });
    const given = await client.stream({ host, ...room, method: 'GET', path: 'logs', signal: caller.signal });
    given.body.on('error', () => undefined);
    given.body.once('data', () => caller.abort());
    await closed;
  });
});
