import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ProcessIdentity } from '@alcove/runtime';
import type { WardenRules } from './decide';

/** What the agent tells the warden that it starts, as JSON in its only argument. */
export interface WardenOrder {
  /** The host folder, a path without links. */
  folder: string;
  /** `vmProcessesModule` of libs/runtime. The warden loads that file alone: the lib's door doubles the memory of this process. */
  vmProcesses: string;
  /** Names the program and its rules. A warden of another version is replaced. */
  version: string;
  rules: WardenRules;
}

/** The warden that watches over a folder, as it wrote itself down there. */
export interface WardenRecord {
  version: string;
  process: ProcessIdentity;
}

export function wardenPath(folder: string): string {
  return join(folder, 'warden.json');
}

/** The warden that wrote itself down last, whether it lives or not; null when none is known. */
export async function readWarden(folder: string): Promise<WardenRecord | null> {
  try {
    const record = JSON.parse(await readFile(wardenPath(folder), 'utf8')) as Partial<WardenRecord>;
    return typeof record.version === 'string' && typeof record.process?.pid === 'number' ? (record as WardenRecord) : null;
  } catch {
    return null;
  }
}
