// Notes: one small file each in ~/notes, so that they outlive the agent's memory; and the user's other files.
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

const MAX_READ_BYTES = 1024 * 1024;

function notesFolder(): string {
  return join(homedir(), 'notes');
}

/** Keeps a note; its number. */
export function remember(text: string): number {
  const folder = notesFolder();
  mkdirSync(folder, { recursive: true });
  const number = readNotes().length + 1;
  writeFileSync(join(folder, `${String(number).padStart(4, '0')}.txt`), `${text}\n`);
  return number;
}

/** Notes in which every word of `wanted` appears; all of them when there is none. */
export function recall(wanted: string): string[] {
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
  return readNotes().filter((note) => words.every((word) => note.toLowerCase().includes(word)));
}

function readNotes(): string[] {
  try {
    const names = readdirSync(notesFolder()).filter((name) => name.endsWith('.txt'));
    return names.sort().map((name) => readFileSync(join(notesFolder(), name), 'utf8').trim());
  } catch {
    return [];
  }
}

/** Writes a file, its path taken from the home directory on; its full path. */
export function writeText(path: string, text: string): string {
  const full = resolve(homedir(), path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, text);
  return full;
}

/** Reads a text file of at most 1 MiB. */
export function readText(path: string): string {
  const full = resolve(homedir(), path);
  if (statSync(full).size > MAX_READ_BYTES) throw new Error(`${full} is too large to show`);
  return readFileSync(full, 'utf8');
}
