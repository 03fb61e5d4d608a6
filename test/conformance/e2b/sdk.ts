/** The published SDK in this process: it finds *.alcove.test on loopback and trusts the development authorities of the platforms under test. */
import { readFileSync } from 'node:fs';
import tls from 'node:tls';
import { Sandbox, type SandboxOpts } from 'e2b';
import { ApiClient } from '../../../apps/cli/src/api-client';
import '../../bench/test-names';
import { worldOf, type World, type WorldName } from './worlds';

/** What E2B's SDK takes as options, or a program as E2B_DOMAIN and E2B_API_KEY. */
export interface At {
  domain: string;
  apiKey: string;
}

/** One tenant and its key: no suite sees another one's sandboxes. */
export class Tenancy {
  readonly #made: string[] = [];
  private constructor(
    readonly world: World,
    readonly tenantId: string,
    readonly at: At,
    readonly v1: ApiClient,
  ) {}

  static async open(name: WorldName, key: { ratePerSecond?: number; concurrent?: number } = { ratePerSecond: 10_000, concurrent: 1000 }): Promise<Tenancy> {
    const world = worldOf(name);
    tls.setDefaultCACertificates([...tls.getCACertificates('default'), readFileSync(world.caFile, 'utf8')]);
    const operator = new ApiClient(world.url, world.platformKey);
    const tenant = await operator.json<{ id: string }>('POST', '/v1/tenants', { name: `e2b-${crypto.randomUUID()}` });
    const made = await operator.json<{ key: string }>('POST', `/v1/tenants/${tenant.id}/keys`, { name: 'e2b', ...key });
    return new Tenancy(world, tenant.id, { domain: world.domain, apiKey: made.key }, new ApiClient(world.url, made.key));
  }

  /** Another key of the same tenant. */
  async anotherKey(limits: { ratePerSecond?: number; concurrent?: number } = {}): Promise<At> {
    const made = await new ApiClient(this.world.url, this.world.platformKey).json<{ key: string }>('POST', `/v1/tenants/${this.tenantId}/keys`, { name: 'another', ...limits });
    return { ...this.at, apiKey: made.key };
  }

  /** Sandbox.create of the default template, to be ended with the suite. */
  async create(options: SandboxOpts = {}): Promise<Sandbox> {
    const sandbox = await Sandbox.create('base', { timeoutMs: 600_000, ...options, ...this.at });
    this.#made.push(sandbox.sandboxId);
    return sandbox;
  }

  /** Takes a sandbox that came about in another way into what close() ends. */
  keep<T extends { sandboxId: string }>(sandbox: T): T {
    this.#made.push(sandbox.sandboxId);
    return sandbox;
  }

  /** Ends all sandboxes that were made here. */
  async close(): Promise<void> {
    await Promise.all(this.#made.map((id) => Sandbox.kill(id, this.at).catch(() => false)));
  }
}

/** A room's name in /v1. */
export function roomIdOf(sandboxId: string): string {
  return sandboxId.replace(/^i/, 'room_');
}

/** A sandbox's name of a room. */
export function sandboxIdOf(roomId: string): string {
  return roomId.replace(/^room_/, 'i');
}

/** What a call fails with: its class's name and its message; throws when it does not fail. */
export async function failureOf(call: Promise<unknown>): Promise<{ name: string; message: string; error: Error }> {
  const value: unknown = await call.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(value instanceof Error || (typeof value === 'object' && value !== null && 'message' in value))) throw new Error('the call did not fail');
  const error = value as Error;
  return { name: error.constructor.name, message: error.message, error };
}
