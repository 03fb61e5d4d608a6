import { open } from 'node:fs/promises';
import type { Secret } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import { findProgram, runWithSecrets } from '../drivers/qemu/processes';
import { inherited } from '../drivers/qemu/qemu.args';
import { namesOtherFiles } from './qcow2';

/*
 * What is done to the disks of rooms while no VMM has them open. qemu-img sees passphrases by inherited pipes, and plain text in its own memory only.
 */

/** A room's disk, what opens it, and the template's disk that it stands on. */
export interface ClosedDisk {
  path: string;
  passphrase: Secret<Buffer>;
  base: string;
}

/** The two pipes by which qemu-img is handed passphrases, and the names it knows them by. */
interface Handed {
  id: string;
  descriptor: number;
}
const first: Handed = { id: 'first', descriptor: inherited.secret };
const second: Handed = { id: 'second', descriptor: inherited.state };

/** Puts a disk back to a state. Problem `image.disk_mismatch` when that state is not kept in it. */
export async function revertTo(qemuImgPath: string, diskPath: string, state: string, passphrase: Secret<Buffer>): Promise<void> {
  const done = await run(qemuImgPath, ['snapshot', ...secretOf(first), '--image-opts', '-a', state, optionsOf(diskPath, first)], [passphrase]);
  if (done.code !== 0) throw new Problem('image.disk_mismatch', { detail: "the disk's state of that image is not kept any more", cause: done.output });
}

/** Gives the state that a disk is in a name. Problems `host.disk_full`, `engine.failed`. */
export async function keepState(qemuImgPath: string, disk: ClosedDisk, state: string): Promise<void> {
  const done = await run(qemuImgPath, ['snapshot', ...secretOf(first), '--image-opts', '-c', state, optionsOf(disk.path, first)], [disk.passphrase]);
  if (done.code !== 0) throw failure('the disk', done.output);
}

/**
 * Writes what a disk holds, in its present state or in a kept one, into another one that is blank and stands on the same base: decrypted and encrypted again, block by
 * block, and none of what it held before. Not durable yet. Problems: `image.disk_mismatch` (that state is not kept), `image.corrupt`, `host.disk_full`; the signal's reason.
 */
export async function copyDisk(qemuImgPath: string, from: ClosedDisk, to: ClosedDisk, kept: string | null, signal?: AbortSignal): Promise<void> {
  if (kept !== null && !(await keptStates(qemuImgPath, from.path)).includes(kept)) {
    throw new Problem('image.disk_mismatch', { detail: 'the disk has moved on since the image was taken, and that state of it is not kept' });
  }
  const state = kept === null ? [] : ['-l', `snapshot.name=${kept}`];
  // -B: what the source does not have itself stays with the base. -n: the target is there.
  const words = ['convert', ...bothSecrets, '--image-opts', '--target-image-opts', '-n', '-B', to.base, '-F', 'raw', ...state, chainOf(from, first), chainOf(to, second)];
  const done = await run(qemuImgPath, words, [from.passphrase, to.passphrase], signal);
  if (done.code !== 0) throw failure("the source's disk", done.output);
}

/** Reads both disks back as a guest would. Problem `image.corrupt` when they do not hold the same. */
export async function compareDisks(qemuImgPath: string, one: ClosedDisk, other: ClosedDisk, signal?: AbortSignal): Promise<void> {
  const done = await run(qemuImgPath, ['compare', ...bothSecrets, '--image-opts', chainOf(one, first), chainOf(other, second)], [one.passphrase, other.passphrase], signal);
  if (done.code !== 0) throw new Problem('image.corrupt', { detail: 'what was read back of a disk is not what was written', cause: done.output });
}

/** The names of the states that are kept in a disk. */
async function keptStates(qemuImgPath: string, path: string): Promise<string[]> {
  const done = await run(qemuImgPath, ['info', '--output=json', '--image-opts', `driver=qcow2,file.driver=file,file.filename=${escaped(path)}`], []);
  if (done.code !== 0) throw failure('the disk', done.output);
  const { snapshots } = JSON.parse(done.output) as { snapshots?: { name: string }[] };
  return (snapshots ?? []).map(({ name }) => name);
}

/** Problem `image.corrupt` when the disk is not one that stands by itself: a VMM that a guest had taken over may have written a header that names files of this host. */
export async function checkDiskHeader(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    const header = Buffer.alloc(104);
    const { bytesRead } = await file.read(header, 0, header.length, 0);
    if (bytesRead < header.length || namesOtherFiles(header)) throw new Problem('image.corrupt', { detail: "the header of a room's disk is not as it was made" });
  } finally {
    await file.close();
  }
}

async function run(qemuImgPath: string, words: readonly string[], secrets: readonly Secret<Buffer>[], signal?: AbortSignal): Promise<{ code: number; output: string }> {
  return runWithSecrets(await findProgram(qemuImgPath, 'qemu-utils'), words, secrets, signal);
}

function secretOf({ id, descriptor }: Handed): string[] {
  return ['--object', `secret,id=${id},format=base64,file=/dev/fd/${descriptor}`];
}

const bothSecrets = [...secretOf(first), ...secretOf(second)];

function optionsOf(path: string, { id }: Handed): string {
  return `driver=qcow2,encrypt.format=luks,encrypt.key-secret=${id},file.driver=file,file.filename=${escaped(path)}`;
}

function chainOf(disk: ClosedDisk, handed: Handed): string {
  return `${optionsOf(disk.path, handed)},backing.driver=raw,backing.file.driver=file,backing.file.filename=${escaped(disk.base)}`;
}

function escaped(path: string): string {
  return path.replaceAll(',', ',,');
}

/** The program says all its failures by one number; its words are those of the C locale. */
function failure(what: string, output: string): Problem {
  if (/No space left on device|Disk quota exceeded/.test(output)) return new Problem('host.disk_full', { detail: 'the host has no disk space left: free some, or move the store', cause: output });
  return new Problem('image.corrupt', { detail: `${what} cannot be read`, cause: output });
}
