import type { Duplex, Readable } from 'node:stream';
import type { ClaimMode, ExecEvent, ExecRequest, FileEntry, FileListQuery, FileReadQuery, FileWriteQuery } from '@alcove/contracts';

/**
 * A synchronised channel to one running guest. Every byte from it is hostile. Each call is one stream; aborting the signal resets the stream, which ends what it
 * started in the guest. Problems: `guest.protocol` (the guest broke the rules; the session is closed), `guest.closed`, `guest.limit`, `file.*`, `exec.not_found`.
 */
export interface GuestSession {
  claim(claim: GuestClaim): Promise<{ bootNonce: string; bootId: string }>;
  /** Resolves when the guest is fit to become a template. */
  ready(): Promise<{ agentRunning: boolean; cloneSafe: boolean; version: string }>;
  exec(request: ExecRequest, signal: AbortSignal): AsyncIterable<ExecEvent>;
  /** A byte stream to 127.0.0.1:port in the guest; keeps trying for waitMs while nobody listens. */
  connect(port: number, waitMs: number, signal: AbortSignal): Promise<Duplex>;
  readFile(query: FileReadQuery, signal: AbortSignal): Promise<{ size: number; mode: string; modifiedAt: string; body: Readable }>;
  writeFile(query: FileWriteQuery, body: Readable, signal: AbortSignal): Promise<{ size: number }>;
  listFiles(query: FileListQuery, signal: AbortSignal): Promise<{ entries: FileEntry[]; truncated: boolean }>;
  statFile(path: string, signal: AbortSignal): Promise<FileEntry>;
  moveFile(from: string, to: string, signal: AbortSignal): Promise<void>;
  removeFile(path: string, recursive: boolean, signal: AbortSignal): Promise<void>;
  makeFolder(path: string, options: { mode?: string; user?: string }, signal: AbortSignal): Promise<void>;
  logs(options: { follow: boolean; tailBytes: number }, signal: AbortSignal): Promise<Readable>;
  stats(): Promise<GuestStats>;
  /** Flushes the guest's disks and leaves the channel silent; the next thing must be a stop, or resynchronise(). */
  quiesce(): Promise<void>;
  /** Makes the channel usable again after quiesce() when the guest was not stopped after all. */
  resynchronise(): Promise<void>;
  /** A round trip of the channel itself; rejects when the guest does not answer in timeoutMs. */
  ping(timeoutMs: number): Promise<void>;
  /** Settles when the channel has ended, with the Problem that ended it. */
  readonly closed: Promise<Error>;
  /** Ends the host's end; the guest's processes go on. */
  close(): void;
}

export interface GuestClaim {
  roomId: string;
  incarnation: number;
  mode: ClaimMode;
  /** Fresh bytes from the host's kernel: 64 or more. */
  entropy: Buffer;
  /** Nanoseconds since 1970-01-01 UTC. */
  wallClockNs: bigint;
  /** 32 hex digits, stable for the room's life. */
  machineId: string;
  hostname: string;
  env: Readonly<Record<string, string>>;
}

export interface GuestStats {
  memTotal: number;
  memAvailable: number;
  processes: number;
  load1: number;
  diskTotal: number;
  diskFree: number;
  uptimeMs: number;
}
