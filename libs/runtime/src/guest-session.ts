import type { Duplex, Readable } from 'node:stream';
import type { ClaimMode, ExecEvent, ExecRequest, FileChange, FileEntry, FileListQuery, FileReadQuery, FileWriteQuery, ProcessInfo, ProcessStart, TerminalSize } from '@alcove/contracts';

/**
 * A synchronised channel to one running guest. Every byte from it is hostile. Each call is one stream; aborting the signal resets the stream, which ends what it
 * started in the guest. Problems: `guest.protocol` (the guest broke the rules; the session is closed), `guest.closed`, `guest.limit`, `file.*`, `exec.not_found`.
 */
export interface GuestSession {
  claim(claim: GuestClaim): Promise<{ bootNonce: string; bootId: string }>;
  /** Resolves when the guest is fit to become a template. */
  ready(): Promise<{ agentRunning: boolean; cloneSafe: boolean; version: string }>;
  exec(request: ExecRequest, signal: AbortSignal): AsyncIterable<ExecEvent>;
  /**
   * A byte stream to 127.0.0.1:port in the guest; keeps trying for waitMs while nobody listens. `hello`: resolves only when somebody does, and rejects with
   * `agent.unreachable` when nobody did; without it, that may come as the stream's error. `request.invalid`: a guest that is too old to say hello.
   */
  connect(port: number, waitMs: number, signal: AbortSignal, options?: { hello?: boolean }): Promise<Duplex>;
  /**
   * Waits for the next connection that a program in the room makes to one of these names (host names, which then mean a loopback address in the room); its bytes. What
   * comes out of it is the program's: hostile. One call takes one connection. Problems: `guest.unsupported` (a guest that is too old to have doors), `guest.limit` (a
   * program of the room has taken the doors' port).
   */
  openDoor(names: readonly string[], signal: AbortSignal): Promise<Duplex>;
  /**
   * Starts a process that outlives this stream: aborting the signal, the host agent's end and a sleep only stop the listening, while the process goes on; only its
   * timeout, a signal and the machine's end end it. Events as exec's, with `stdout` for a terminal's output; never truncated.
   */
  startProcess(order: ProcessStart, signal: AbortSignal): AsyncIterable<ExecEvent>;
  /** `start`, then what the process writes from now on, then `exit`; one that has ended in the last half minute tells its end only. Problem `exec.not_found`. */
  attachProcess(which: ProcessName, signal: AbortSignal): AsyncIterable<ExecEvent>;
  /** The processes that startProcess began and that run. */
  listProcesses(signal: AbortSignal): Promise<ProcessInfo[]>;
  /** Gives bytes to its standard input or terminal; resolves when the process's pipe has taken them. `close`: and then the end of input. Problems `exec.not_found`, `request.invalid` (it has none). */
  writeProcess(which: ProcessName, data: Buffer, options: { close: boolean }, signal: AbortSignal): Promise<void>;
  /** To its process group, by number (signal(7)). Problem `exec.not_found`. */
  signalProcess(which: ProcessName, number: number, signal: AbortSignal): Promise<void>;
  /** Problems `exec.not_found`, `request.invalid` (it has no terminal). */
  resizeProcess(which: ProcessName, size: TerminalSize, signal: AbortSignal): Promise<void>;
  readFile(query: FileReadQuery, signal: AbortSignal, rights?: FileRights): Promise<{ size: number; mode: string; modifiedAt: string; body: Readable }>;
  /** `metadata`: replaces all that the file has, as extended attributes `user.e2b.<key>`; absent: a file that is replaced loses it, as any rename over it does. */
  writeFile(query: FileWriteQuery, body: Readable, signal: AbortSignal, rights?: FileRights & { metadata?: Readonly<Record<string, string>> }): Promise<{ size: number }>;
  /** `depth`: so many levels, each name relative to the path; 1 unless told. In the order of a sorted walk. */
  listFiles(query: FileListQuery, signal: AbortSignal, look?: FileLook & { depth?: number }): Promise<{ entries: FileEntry[]; truncated: boolean }>;
  statFile(path: string, signal: AbortSignal, look?: FileLook): Promise<FileEntry>;
  moveFile(from: string, to: string, signal: AbortSignal, rights?: FileRights & { makeParents?: boolean }): Promise<void>;
  removeFile(path: string, recursive: boolean, signal: AbortSignal, rights?: FileRights): Promise<void>;
  makeFolder(path: string, options: FileRights & { mode?: string }, signal: AbortSignal): Promise<void>;
  /**
   * What changes in a folder. The first next() resolves with null once the watch stands: what happens after that is told. Recursive: also in folders that are made later.
   * Problems: `file.not_found`, `file.kind` (not a folder), `guest.limit` (more changes than are kept for a slow listener, or more folders than can be watched).
   */
  watchFiles(path: string, options: FileRights & { recursive: boolean }, signal: AbortSignal): AsyncIterable<FileChange | null>;
  logs(options: { follow: boolean; tailBytes: number }, signal: AbortSignal): Promise<Readable>;
  stats(): Promise<GuestStats>;
  /** Flushes the guest's disks and leaves the channel silent; the next thing must be a stop, or resynchronise(). */
  quiesce(): Promise<void>;
  /** Makes the channel usable again after quiesce() when the guest was not stopped after all. */
  resynchronise(): Promise<void>;
  /** A round trip of the channel itself; rejects when the guest says nothing in timeoutMs, neither the answer nor anything else. */
  ping(timeoutMs: number): Promise<void>;
  /** Settles when the channel has ended, with the Problem that ended it. */
  readonly closed: Promise<Error>;
  /** Ends the host's end; the guest's processes go on. */
  close(): void;
}

/** A process that startProcess began. */
export type ProcessName = { pid: number } | { tag: string };

/** `user` acts (default `user`). Relative paths start at the home of `owner`, and what is made belongs to it; without one, the acting user is meant by both. */
export interface FileRights {
  user?: string;
  owner?: string;
}

/** `follow`: kind, size, mode and times of a symbolic link are those of what it leads to, where that is there, and its target is absolute. */
export interface FileLook extends FileRights {
  follow?: boolean;
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
  /** Of the page cache. Absent from guests of older templates, as the next two. */
  memCached?: number;
  /** Since the boot, all processors together: milliseconds that they worked, and milliseconds in all. */
  cpuBusyMs?: number;
  cpuTotalMs?: number;
}
