import { request } from 'node:http';
import { json } from 'node:stream/consumers';
import { type ExecEvent, ExecRequest, isProblem, type ProblemCode } from '@alcove/contracts';
import type { GuestSession } from '@alcove/runtime';

const neverAborted = new AbortController().signal;

/** The code of the Problem that the promise rejects with; fails the test when there is none. */
export async function codeOf(promise: Promise<unknown>): Promise<ProblemCode> {
  const outcome = await promise.then(() => 'resolved' as const, (error: unknown) => error);
  if (!isProblem(outcome)) throw outcome === 'resolved' ? new Error('it was expected to be refused') : outcome;
  return outcome.code;
}

/** Collects what a command said and how it ended. */
export async function run(guest: GuestSession, command: string | string[], more: Partial<ExecRequest> = {}): Promise<{ stdout: string; stderr: string } & Partial<ExecEvent>> {
  const collected = { stdout: '', stderr: '' };
  for await (const event of guest.exec(ExecRequest.parse({ command, ...more }), neverAborted)) {
    if (event.event === 'stdout' || event.event === 'stderr') collected[event.event] += Buffer.from(event.data, 'base64').toString();
    if (event.event === 'exit') return { ...collected, ...event };
  }
  throw new Error('the command never ended');
}

/** Says something to the room's agent. */
export async function ask(guest: GuestSession, prompt: string): Promise<Record<string, unknown>> {
  const socket = await guest.connect(8080, 30_000, neverAborted);
  const body = JSON.stringify({ prompt });
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), host: '127.0.0.1', connection: 'close' };
    const outgoing = request({ method: 'POST', path: '/invocations', headers, createConnection: () => socket }, (incoming) => {
      json(incoming).then((value) => resolve(value as Record<string, unknown>), reject);
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** What the agent drew for itself and keeps in its memory only. */
export async function nonceOf(guest: GuestSession): Promise<string> {
  return String((await ask(guest, 'nonce'))['nonce']);
}
