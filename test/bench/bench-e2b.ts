import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import tls from 'node:tls';
import { Sandbox } from 'e2b';
import { serverSentEvents, type ApiClient } from '../../apps/cli/src/api-client';
import type { Platform } from './bench.config';
import { percentile, summarise, target, type Target } from './figures';
import type { BenchOptions, BenchReport } from './report';
import './test-names';

const fileBytes = 5_000_000;
const crowd = 100;
const command = ['/bin/bash', '-l', '-c', 'true'];
const path = '/tmp/bench.bin';

type Step = 'create' | "run('true')" | 'write 5 MB' | 'read 5 MB' | 'pause' | 'connect';
type Taken = Record<Step, number[]>;
/** The same six steps through one of the two faces. */
interface Face {
  create(): Promise<string>;
  run(id: string): Promise<void>;
  write(id: string, bytes: Buffer): Promise<void>;
  /** Resolves with how many bytes came. */
  read(id: string): Promise<number>;
  pause(id: string): Promise<void>;
  connect(id: string): Promise<void>;
  destroy(id: string): Promise<void>;
}

/** What an application waits for through E2B's SDK, and for the same through /v1, in turns; and a hundred commands at once in one room. */
export async function benchE2b(client: ApiClient, { edge }: Platform, { samples, say }: BenchOptions): Promise<Pick<BenchReport, 'figures' | 'targets'>> {
  tls.setDefaultCACertificates([...tls.getCACertificates('default'), readFileSync(edge.caFile, 'utf8')]);
  const faces = { sdk: throughSdk({ domain: edge.domain, apiKey: client.key }), v1: throughV1(client) };
  const taken = { sdk: noneTaken(), v1: noneTaken() };
  // What is loaded and opened only once is not counted.
  for (const face of Object.values(faces)) await life(face, noneTaken());
  for (let i = 0; i < samples; i++) {
    say(`life ${i + 1} of ${samples}`);
    // Taken in turns, and the first of each pair in turn, so that whatever else this machine does meets both alike.
    for (const name of i % 2 === 0 ? (['sdk', 'v1'] as const) : (['v1', 'sdk'] as const)) await life(faces[name], taken[name]);
  }
  const figures: BenchReport['figures'] = {};
  const targets: Target[] = [];
  for (const step of Object.keys(taken.sdk) as Step[]) {
    figures[`${step}, SDK`] = summarise(taken.sdk[step]);
    figures[`${step}, /v1`] = summarise(taken.v1[step]);
    targets.push(target(`${step}: SDK / /v1, p50`, percentile(taken.sdk[step], 50) / percentile(taken.v1[step], 50), '<=', 1.2));
  }
  for (const [name, face] of Object.entries(faces)) figures[`${crowd} × run('true') at once in one room, ${name === 'sdk' ? 'SDK' : '/v1'}`] = summarise(await crowded(face, samples, say));
  return { figures, targets };
}

function noneTaken(): Taken {
  return { create: [], "run('true')": [], 'write 5 MB': [], 'read 5 MB': [], pause: [], connect: [] };
}

async function life(face: Face, taken: Taken): Promise<void> {
  const timed = async <T>(step: Step, work: () => Promise<T>): Promise<T> => {
    const started = performance.now();
    const value = await work();
    taken[step].push(performance.now() - started);
    return value;
  };
  const bytes = randomBytes(fileBytes);
  const id = await timed('create', () => face.create());
  await timed("run('true')", () => face.run(id));
  await timed('write 5 MB', () => face.write(id, bytes));
  const read = await timed('read 5 MB', () => face.read(id));
  if (read !== fileBytes) throw new Error(`${read} bytes of ${fileBytes} came back`);
  await timed('pause', () => face.pause(id));
  await timed('connect', () => face.connect(id));
  await face.destroy(id);
}

/** How long a hundred commands take that are asked for at once, all of them together. */
async function crowded(face: Face, samples: number, say: BenchOptions['say']): Promise<number[]> {
  const id = await face.create();
  const taken: number[] = [];
  for (let i = 0; i < Math.ceil(samples / 3); i++) {
    say(`${crowd} at once, ${i + 1}`);
    const started = performance.now();
    await Promise.all(Array.from({ length: crowd }, () => face.run(id)));
    taken.push(performance.now() - started);
  }
  await face.destroy(id);
  return taken;
}

function throughSdk(at: { domain: string; apiKey: string }): Face {
  const sandboxes = new Map<string, Sandbox>();
  const of = (id: string): Sandbox => {
    const sandbox = sandboxes.get(id);
    if (!sandbox) throw new Error(`no sandbox ${id}`);
    return sandbox;
  };
  return {
    create: async () => {
      const sandbox = await Sandbox.create({ ...at, timeoutMs: 600_000 });
      sandboxes.set(sandbox.sandboxId, sandbox);
      return sandbox.sandboxId;
    },
    run: async (id) => void (await of(id).commands.run('true')),
    write: async (id, bytes) => void (await of(id).files.write(path, new Blob([new Uint8Array(bytes)]))),
    read: async (id) => (await of(id).files.read(path, { format: 'bytes' })).length,
    pause: async (id) => void (await of(id).pause()),
    connect: async (id) => void (await of(id).connect()),
    destroy: async (id) => void (await of(id).kill()),
  };
}

function throughV1(client: ApiClient): Face {
  const file = (id: string): string => `/v1/rooms/${id}/files?path=${encodeURIComponent(path)}`;
  return {
    create: async () => {
      const { id } = await client.createRoom({ userId: `bench-${randomBytes(6).toString('hex')}` });
      await client.wake(id);
      return id;
    },
    run: async (id) => {
      const answer = await client.call('POST', `/v1/rooms/${id}/exec`, { json: { command }, headers: { accept: 'text/event-stream' } });
      for await (const { data } of serverSentEvents(answer)) {
        const event = JSON.parse(data) as { event: string; exitCode?: number };
        if (event.event === 'exit' && event.exitCode !== 0) throw new Error(`true ended with ${event.exitCode}`);
      }
    },
    write: async (id, bytes) => void (await (await client.call('PUT', file(id), { bytes })).arrayBuffer()),
    read: async (id) => (await (await client.call('GET', file(id))).arrayBuffer()).byteLength,
    pause: async (id) => void (await client.hibernate(id)),
    connect: async (id) => void (await client.wake(id)),
    destroy: (id) => client.destroyRoom(id),
  };
}
