import { Problem, type CopiedReport, type EnsureCopied, type EnsureGone, type EnsureRunning, type EnsureSealed, type GoneReport, type HostState, type RunningReport, type SealedReport } from '@alcove/contracts';
import type { Duplex, Readable } from 'node:stream';

/** Whom to call. */
export interface HostAddress {
  readonly id: string;
  readonly url: string;
}

export interface IncarnationKey {
  readonly roomId: string;
  readonly incarnation: number;
}

/** A call into a room: `path` is below the incarnation, such as `invocations` or `files/list?path=%2F`. */
export interface StreamRequest {
  readonly host: HostAddress;
  readonly roomId: string;
  readonly incarnation: number;
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Readable | Buffer | string;
  /** Aborting ends the call on both sides: that is how a caller who goes away cancels. */
  readonly signal?: AbortSignal;
}

/** Bytes to and from a port in a room. */
export interface TunnelRequest {
  readonly host: HostAddress;
  readonly roomId: string;
  readonly incarnation: number;
  readonly port: number;
  /** Aborting ends the tunnel, also one that is open. */
  readonly signal?: AbortSignal;
}

/** The host's answer as it comes. A problem of the host's own has been thrown already; any other status is the room's. */
export interface StreamAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readable;
}

/**
 * The host API, typed. Also the injection token. Every verb is an ensure-verb: safe to call again. Throws the Problem that the host answered with, or
 * `host.unavailable` when it could not be reached or did not answer in time; the verb may then have been carried out or not.
 */
export abstract class HostClient {
  abstract ensureRunning(host: HostAddress, room: IncarnationKey, order: EnsureRunning, signal?: AbortSignal): Promise<RunningReport>;
  abstract ensureSealed(host: HostAddress, room: IncarnationKey, order: EnsureSealed, signal?: AbortSignal): Promise<SealedReport>;
  /** Makes the room, which must be new, as a copy of one that sleeps on the same store. */
  abstract ensureCopied(host: HostAddress, room: IncarnationKey, order: EnsureCopied, signal?: AbortSignal): Promise<CopiedReport>;
  abstract ensureGone(host: HostAddress, room: IncarnationKey, order: EnsureGone, signal?: AbortSignal): Promise<GoneReport>;
  abstract state(host: HostAddress, signal?: AbortSignal): Promise<HostState>;
  /** No deadline of its own but for the connection: a stream lasts as long as its caller wants. Also throws `guest.closed` when the connection breaks before the answer begins, `incarnation.stale` when the host does not run this incarnation. */
  abstract stream(request: StreamRequest): Promise<StreamAnswer>;
  /** A connection to 127.0.0.1:port in the room, its bytes as they are. Throws as stream does, and `agent.unreachable` when nothing listens there. A client without connections has none. */
  async tunnel(_request: TunnelRequest): Promise<Duplex> {
    throw new Problem('unsupported');
  }

  abstract close(): Promise<void>;

  /** Nest's hook. */
  onModuleDestroy(): Promise<void> {
    return this.close();
  }
}
