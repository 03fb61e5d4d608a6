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
    targets.push(...ratios(step, taken.sdk[step], taken.v1[step]));
  }
  const crowds = await crowded(faces, samples, say);
  const atOnce = `${crowd} × run('true') at once in one room`;
  figures[`${atOnce}, SDK`] = summarise(crowds.sdk);
  figures[`${atOnce}, /v1`] = summarise(crowds.v1);
  targets.push(...ratios(atOnce, crowds.sdk, crowds.v1));
  return { figures, targets };
}

/** The SDK against /v1: at the median, and where one of a hundred is slower. */
function ratios(name: string, sdk: number[], v1: number[]): Target[] {
  return [50, 99].map((p) => target(`${name}: SDK / /v1, p${p}`, percentile(sdk, p) / percentile(v1, p), '<=', 1.2));
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

/** How long a hundred commands take that are asked for at once, all of them together; the two faces in turns, each in a room of its own. */
async function crowded(faces: Record<'sdk' | 'v1', Face>, samples: number, say: BenchOptions['say']): Promise<Record<'sdk' | 'v1', number[]>> {
  const taken = { sdk: [] as number[], v1: [] as number[] };
  const ids = { sdk: await faces.sdk.create(), v1: await faces.v1.create() };
  for (let i = 0; i < Math.ceil(samples / 3); i++) {
    say(`${crowd} at once, ${i + 1}`);
    for (const name of i % 2 === 0 ? (['sdk', 'v1'] as const) : (['v1', 'sdk'] as const)) {
      const started = performance.now();
      await Promise.all(Array.from({ length: crowd }, () => faces[name].run(ids[name])));
      taken[name].push(performance.now() - started);
    }
  }
  for (const name of ['sdk', 'v1'] as const) await faces[name].destroy(ids[name]);
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
      const { id } = await client.createRoom({ userId: 'bench-e2b', kind: 'sandbox' });
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
