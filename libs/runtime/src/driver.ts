import type { Secret } from '@alcove/base';
import type { Fallback, ImageRef, Isolation, TemplateManifest } from '@alcove/contracts';
import type { GuestSession } from './guest-session';

/**
 * How a host runs a room. One interface for every engine; what differs is data (`capabilities`), never `if (driver.name === …)` outside the driver's own
 * folder. Called only by the host agent's runner, one call at a time per room. Every verb is idempotent: the same call again ends in the same state.
 * Failures are Problems: `engine.*`, `host.disk_full`, `image.*`, `guest.*`, `vault.*`.
 */
export interface Driver {
  readonly capabilities: DriverCapabilities;
  /** Finds out by trying what this machine can do. Never throws: what is wrong is in the answer. */
  probe(): Promise<ProbeReport>;
  /** Starts the room's VM from its disk (or a new blank one): a kernel boot, fresh processes. Ends with a claimed, serving guest. */
  boot(room: RoomSpec, signal?: AbortSignal): Promise<Started>;
  /**
   * Starts the room's VM from memory: the template's (a new room; makes its disk) or a sealed image. Never falls back: the runner decides that. When it rejects,
   * the disk is as the image wants it, even if the guest has run for a moment: the same call may be tried again.
   */
  restore(room: RoomSpec, source: MemorySource, signal?: AbortSignal): Promise<Started>;
  /** Quiesces, stops the guest for good, and makes a durable, read-back and verified image of it. On failure before the image is durable the guest goes on running. */
  seal(room: RoomSpec, order: SealOrder): Promise<Sealed>;
  /**
   * Makes a sleeping room of another sleeping one, both of one user: its image and the disk that belongs to it, both encrypted anew under the target's keys, durable, read
   * back and verified. The source stays as it is. A repeat finds what was made or replaces it; when it fails, or is aborted, nothing of the target is left. Problems:
   * `image.*`, `vault.corrupt` (the key of the source's disk), `host.disk_full`, `room.busy` (a VM of either runs), `incarnation.stale` (the target has lived already).
   */
  copy(source: CopySource, target: RoomSpec, order: SealOrder, signal?: AbortSignal): Promise<ImageRef>;
  /** Ends the VM process of this incarnation if there is one; the disk and the images stay. */
  stop(room: RoomKey): Promise<{ wasRunning: boolean }>;
  /** Removes every image of the room but these ids, and the disk states that belong to the removed ones. Only while no VM of it runs, or right after a restore. */
  prune(roomId: string, keep: readonly string[]): Promise<void>;
  /** Removes disk, images and run folder of the room. Refuses while a VM of it runs. */
  discard(roomId: string): Promise<void>;
  /** Every VM of this driver on this machine, found from processes and run folders, not from memory. */
  inspect(): Promise<FoundVm[]>;
  /** Takes over a VM that an earlier host agent started: reopens its control sockets and the guest channel. Keys are not recovered. */
  recover(found: FoundVm): Promise<Started>;
  /** Called once per VM that ended without stop() or seal(). Set by the runner before anything is started. */
  onExit(listener: (room: RoomKey, reason: 'vmm_exited' | 'guest_dead') => void): void;
  /** What a running room costs in memory; absent where the engine cannot tell. */
  memoryOf?(room: RoomKey): Promise<MemoryFigures>;
  /** Stops background work (pools, watchers). Leaves VMs running. */
  close(): Promise<void>;
}

export interface DriverCapabilities {
  readonly name: string;
  readonly memoryImage: boolean;
  readonly encryptsMemoryImage: boolean;
  readonly encryptsDisk: boolean;
  /** VMs outlive the host agent and can be recovered. */
  readonly detached: boolean;
}

export interface ProbeReport {
  ok: boolean;
  isolation: Isolation;
  /** `kvm`, `tcg` or the driver's own word. */
  accelerator: string;
  /** Names the engine build that device state is tied to; part of the compatibility key. */
  engineBuild: string;
  findings: { name: string; ok: boolean; detail: string; mend?: string }[];
}

export interface RoomKey {
  roomId: string;
  incarnation: number;
}

export interface RoomSpec extends RoomKey {
  template: Template;
  /** Subkeys of the user's key for this room: 32 bytes each. */
  keys: { image: Secret<Buffer>; disk: Secret<Buffer> };
  env: Readonly<Record<string, string>>;
  hasDisk: boolean;
  /** What it is started from is a copy of another room and has not run yet: the guest gets an identity of its own, and runs the template's `onFork` command before the start counts. */
  newIdentity?: boolean;
}

/** A sleeping room that is copied. */
export interface CopySource {
  image: ImageRef;
  keys: RoomSpec['keys'];
}

/** A template in this host's store: the manifest and the folder that holds its files. Immutable. */
export interface Template {
  manifest: TemplateManifest;
  folder: string;
}

/**
 * An image is refused with `image.disk_mismatch` when the disk has moved on since it was taken, unless `rollBackDisk` (the checkpoint level): then the
 * disk is first put back to the state the image names, which must still be kept.
 */
export type MemorySource = { kind: 'template' } | { kind: 'image'; image: ImageRef; rollBackDisk?: boolean };

export interface Started {
  guest: GuestSession;
  isolation: Isolation;
  accelerator: string;
  bootAttempts: number;
  /** Milliseconds per step, for the report: `launch`, `load`, `resume`, `claim` … */
  steps: Record<string, number>;
  /** True while the guest is held still because this host cannot write its disk (no space): it answers nothing then, and is not dead. */
  stalled(): boolean;
}

export interface SealOrder {
  /** The room's count of images; higher than any before. */
  generation: number;
}

export interface Sealed {
  image: ImageRef;
  stallMs: number;
  steps: Record<string, number>;
}

export interface FoundVm extends RoomKey {
  pid: number;
  templateId: string;
  /** False: half-started or half-ended, good only for stop(). */
  whole: boolean;
}

export interface MemoryFigures {
  /** Pages that this guest alone holds: what it wrote since its template. The same under every accelerator. */
  guestPrivateBytes: number;
  /** All else that only this VM's process holds: its heap, and an emulator's translation cache. */
  vmmOverheadBytes: number;
}

/** What the runner tells the control plane about the levels it tried. */
export type { Fallback };
