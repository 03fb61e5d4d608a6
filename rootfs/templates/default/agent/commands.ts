// The grammar: what the agent understands. A language model comes later; until then every answer follows from these rules.
import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { claimFact } from './claim.ts';
import { kernelRandom, opensslRandom } from './fresh-randomness.ts';
import type { Memory } from './memory.ts';
import { forgetAbout, rememberThat, tellAbout } from './memory-words.ts';
import { readText, recall, remember, writeText } from './notes.ts';
import { run, runShell } from './shell.ts';

export interface Request {
  prompt: string;
  memory: Memory;
  signal: AbortSignal;
  /** Hears parts of the answer before it is whole. */
  onText: (text: string) => void;
}

/** `reply` is for a person; everything else is the same, structured. */
export type Answer = { reply: string } & Record<string, unknown>;

type Rule = readonly [pattern: RegExp, answer: (match: RegExpMatchArray, request: Request) => Answer | Promise<Answer>];

const HELP =
  'I understand: count · nonce · run: <command> · remember <text> · recall [words] · remember that <fact> · what do you know about <words> · forget <words> · write <path> <text> · read <path> · fill <MiB> · checksum · random · history · help';

const rules: readonly Rule[] = [
  [/^count$/i, count],
  [/^nonce$/i, (_, { memory }) => ({ reply: `My nonce is ${memory.nonce}.`, nonce: memory.nonce })],
  [/^run:\s*(.+)$/is, runCommand],
  [/^remember that\s+(.+)$/is, rememberThat],
  [/^what do you know about\s+(.+?)\??$/is, tellAbout],
  [/^forget\s+(.+)$/is, forgetAbout],
  [/^remember\s+(.+)$/is, ([, text = '']) => ({ reply: 'I will remember that.', note: remember(text.trim()) })],
  [/^recall(?:\s+(.+))?$/is, recallNotes],
  [/^write\s+(\S+)\s(.*)$/is, writeFile],
  [/^read\s+(\S+)$/i, readFile],
  [/^fill\s+(\d{1,5})$/i, fill],
  [/^checksum$/i, checksum],
  [/^random$/i, drawEverything],
  [/^history$/i, history],
  [/^help$/i, () => ({ reply: HELP })],
];

/** Answers one prompt. Throws when a command cannot be carried out; the message is for the user. */
export async function answer(request: Request): Promise<Answer> {
  const prompt = request.prompt.trim();
  for (const [pattern, respond] of rules) {
    const match = prompt.match(pattern);
    if (match) return respond(match, request);
  }
  return smallTalk(prompt, request.memory);
}

function smallTalk(prompt: string, memory: Memory): Answer {
  const before = memory.turns === 1 ? 'This is the beginning of our conversation.' : `We have talked ${memory.turns - 1} times before.`;
  const said = prompt === '' ? 'You said nothing.' : `You said: "${prompt.slice(0, 200)}".`;
  return { reply: `Hello! ${said} ${before} Say "help" to see what I can do.` };
}

function count(_: RegExpMatchArray, { memory }: Request): Answer {
  memory.counter += 1;
  return { reply: `The counter is at ${memory.counter}.`, counter: memory.counter };
}

async function runCommand([, command = '']: RegExpMatchArray, { signal, onText }: Request): Promise<Answer> {
  const { output, ...finished } = await runShell(command, signal, onText);
  return { reply: output, ...finished };
}

function recallNotes([, words = '']: RegExpMatchArray): Answer {
  const notes = recall(words);
  return { reply: notes.length === 0 ? 'I remember nothing like that.' : notes.join('\n'), notes };
}

function writeFile([, path = '', text = '']: RegExpMatchArray): Answer {
  const full = writeText(path, text);
  return { reply: `Written to ${full}.`, path: full };
}

function readFile([, path = '']: RegExpMatchArray): Answer {
  const content = readText(path);
  return { reply: content, content };
}

function fill([, size = '0']: RegExpMatchArray, { memory }: Request): Answer {
  memory.fill(Number(size));
  return { reply: `I keep ${size} MiB of random bytes.`, mebibytes: Number(size) };
}

function checksum(_: RegExpMatchArray, { memory }: Request): Answer {
  const { sha256, mebibytes } = memory.checksum();
  return { reply: `${mebibytes} MiB with SHA-256 ${sha256}.`, sha256, mebibytes };
}

function history(_: RegExpMatchArray, { memory }: Request): Answer {
  const turns = memory.recentTurns;
  return { reply: turns.map(({ prompt, reply }) => `> ${prompt}\n${reply}`).join('\n'), history: turns };
}

/** A draw from every source of randomness in a room: two rooms that share one would show it here. */
async function drawEverything(_: RegExpMatchArray, { signal }: Request): Promise<Answer> {
  const lineOf = async (...command: string[]): Promise<string> => (await run(command, signal)).output.trim();
  const random = {
    uuid: randomUUID(),
    webUuid: globalThis.crypto.randomUUID(),
    randomBytes: randomBytes(16).toString('hex'),
    mathRandom: String(Math.random()),
    tls: opensslRandom(16).toString('hex'),
    python: await lineOf('python3', '-c', 'import random; print(random.random())'),
    openssl: await lineOf('openssl', 'rand', '-hex', '16'),
    urandom: kernelRandom(16).toString('hex'),
    kernelUuid: readFileSync('/proc/sys/kernel/random/uuid', 'utf8').trim(),
    bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    machineId: readFileSync('/etc/machine-id', 'utf8').trim(),
    bootNonce: claimFact('bootNonce'),
  };
  return {
    reply: Object.entries(random)
      .map(([name, value]) => `${name}: ${value}`)
      .join('\n'),
    random,
  };
}
