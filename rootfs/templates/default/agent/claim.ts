// Notices that this process has become another room's, or has slept: rootfs/guest-agent/PROTOCOL.md, last section.
import { existsSync, readFileSync } from 'node:fs';
import { forgetDrawnNumbers } from './fresh-randomness.ts';

const CLAIM_FILE = '/run/alcove/claim';
const ENV_FILE = '/run/alcove/env';

let seen = '';
let facts = new Map<string, string>();
let roomVariables: string[] = [];

/** To be called at the start of every request, before anything else is done. */
export function lookAtClaim(): void {
  const text = readOrEmpty(CLAIM_FILE);
  if (text === seen) return;
  seen = text;
  facts = new Map(text.split('\n').filter(Boolean).map(splitPair));
  forgetDrawnNumbers();
  readEnvironment();
}

/** Whether there has been a claim at all; before it, this is a template. */
export function isClaimed(): boolean {
  return existsSync(CLAIM_FILE);
}

/** What the claim says: `room`, `incarnation`, `mode`, `bootNonce`; empty before the first one. */
export function claimFact(name: string): string {
  return facts.get(name) ?? '';
}

function readEnvironment(): void {
  for (const name of roomVariables) delete process.env[name];
  const pairs = readOrEmpty(ENV_FILE).split('\0').filter(Boolean).map(splitPair);
  for (const [name, value] of pairs) process.env[name] = value;
  roomVariables = pairs.map(([name]) => name);
}

function splitPair(line: string): [string, string] {
  const at = line.indexOf('=');
  return [line.slice(0, at), line.slice(at + 1)];
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
