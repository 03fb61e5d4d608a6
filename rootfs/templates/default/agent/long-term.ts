// What the platform keeps of this user beyond the room, through the room's door (PROTOCOL.md, "Doors"). No credential: the platform knows whose room this is.
// What is kept from here is the agent's word, however it came to it.
import { request } from 'node:http';

const HOST = 'memory.alcove.internal';
const WITHIN_MS = 15_000;
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

export interface Known {
  id: string;
  content: string;
  /** Whose word it is: `user`, `application`, `agent`, `tool` or `untrusted`. */
  trust: string;
}

/** Memory did not do as asked; the message is for the user. */
export class MemoryFailed extends Error {}

/** Keeps a fact; its id. */
export async function keep(content: string, signal: AbortSignal): Promise<string> {
  return textOf(await ask('POST', '/v1/memory', signal, { kind: 'fact', content }), 'id');
}

/** What is known that has to do with these words, the best first. */
export async function find(query: string, signal: AbortSignal): Promise<Known[]> {
  const { hits } = await ask('POST', '/v1/memory/search', signal, { query, k: 10 });
  if (!Array.isArray(hits)) throw new MemoryFailed('Memory gave an answer that I do not understand.');
  return hits.map((hit: unknown) => known(field(hit, 'memory')));
}

/** Erases what an agent has kept; of what the user or the application has said, only hides it. */
export async function drop({ id, trust }: Known, signal: AbortSignal): Promise<'erased' | 'hidden'> {
  const own = trust !== 'user' && trust !== 'application';
  await ask('DELETE', `/v1/memory/${id}?mode=${own ? 'erase' : 'retire'}`, signal);
  return own ? 'erased' : 'hidden';
}

function known(memory: unknown): Known {
  return { id: textOf(memory, 'id'), content: textOf(memory, 'content'), trust: textOf(field(memory, 'source'), 'trust') };
}

function ask(method: string, path: string, signal: AbortSignal, value?: object): Promise<Record<string, unknown>> {
  const body = value === undefined ? undefined : JSON.stringify(value);
  const headers = { connection: 'close', ...(body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }) };
  return new Promise((resolve, reject) => {
    const asked = request({ host: HOST, port: 80, method, path, headers, agent: false, signal: AbortSignal.any([signal, AbortSignal.timeout(WITHIN_MS)]) });
    const failed = (error: unknown): void => reject(new MemoryFailed(`My long-term memory cannot be reached right now (${error instanceof Error ? error.message : String(error)}).`));
    asked.on('error', failed);
    asked.on('response', (response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      response.on('error', failed);
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        length += chunk.length;
        if (length > MAX_ANSWER_BYTES) response.destroy(new Error('the answer is too long'));
      });
      response.on('end', () => {
        const answer = parsed(Buffer.concat(chunks).toString('utf8'));
        if ((response.statusCode ?? 500) < 300) resolve(answer);
        else reject(refusal(response.statusCode ?? 500, answer));
      });
    });
    asked.end(body);
  });
}

function refusal(status: number, { title, detail }: Record<string, unknown>): MemoryFailed {
  const told = [title, detail].filter((text) => typeof text === 'string').join(': ') || `status ${status}`;
  return new MemoryFailed(status >= 500 ? `My long-term memory cannot be reached right now (${told}).` : `My long-term memory refused (${told}).`);
}

function parsed(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

function textOf(value: unknown, name: string): string {
  const found = field(value, name);
  if (typeof found !== 'string') throw new MemoryFailed('Memory gave an answer that I do not understand.');
  return found;
}
