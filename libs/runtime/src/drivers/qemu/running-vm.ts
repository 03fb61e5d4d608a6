import { stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, Log } from '@alcove/base';
import type { RoomKey, Started } from '../../driver';
import { runFiles } from './qemu.args';
import type { Vmm } from './vmm';

const ioRetryMs = 2_000;
/** Longer than QEMU holds back a repeated event of one device (1 s). */
const ioSettleMs = 1_500;
const logBytesMax = 1 << 20;
const logLookMs = 30_000;

/** One VM that this host agent has started or recovered. */
export class RunningVm {
  readonly room: RoomKey;
  readonly vmm: Vmm;
  readonly uid: number | null;
  /** The template's memory, which the VMM has mapped. */
  readonly memoryFile: string;
  readonly started: Started;
  /** Set before the VMM is ended on purpose: its end is then nobody's surprise. */
  expected = false;
  #stalled = false;
  #ioErrors = 0;

  constructor(parts: { room: RoomKey; vmm: Vmm; uid: number | null; memoryFile: string; started: Omit<Started, 'stalled'> }) {
    this.room = { roomId: parts.room.roomId, incarnation: parts.room.incarnation };
    this.vmm = parts.vmm;
    this.uid = parts.uid;
    this.memoryFile = parts.memoryFile;
    this.started = { ...parts.started, stalled: () => this.#stalled };
  }

  /**
   * When the host's disk is full, QEMU stops the guest at its next write rather than tell it of an error. It is let go on every few seconds, until there is space
   * again. Other rooms notice nothing.
   */
  continueAfterFullDisk(clock: Clock, log: Log): void {
    this.vmm.monitor.onEvent(({ event, data }) => {
      if (event !== 'BLOCK_IO_ERROR' || data.action !== 'stop') return;
      this.#ioErrors += 1;
      if (this.#stalled) return;
      this.#stalled = true;
      log.warn({ ...this.room, reason: data.reason }, 'a guest was stopped because the host could not write its disk');
      void this.#retryUntilWritten(clock);
    });
  }

  /** Lets the guest go on until that brings no further error. Until then it counts as stalled without a gap, in which a missed ping would be held against it. */
  async #retryUntilWritten(clock: Clock): Promise<void> {
    let seen: number;
    do {
      seen = this.#ioErrors;
      await clock.sleep(ioRetryMs);
      if (this.expected) return;
      await this.vmm.resume().catch(() => undefined);
      await clock.sleep(ioSettleMs);
    } while (this.#ioErrors !== seen);
    this.#stalled = false;
  }

  /** A guest can make its VMM print: what is longer than 1 MiB is cut to nothing. The VMM appends, so it goes on from the start. */
  async keepLogShort(clock: Clock): Promise<void> {
    const path = join(this.vmm.folder, runFiles.log);
    const ended = new AbortController();
    void this.vmm.monitor.closed.then(() => ended.abort());
    while (!ended.signal.aborted) {
      await clock.sleep(logLookMs, ended.signal).catch(() => undefined);
      const { size } = await stat(path).catch(() => ({ size: 0 }));
      if (size > logBytesMax) await truncate(path).catch(() => undefined);
    }
  }
}
