import type { RoomEvent } from '@alcove/contracts';
import { aboutWaking, type ApiClient } from '../../apps/cli/src/api-client';

export interface Answer {
  /** From the call to the first byte of the agent's answer. */
  firstByteMs: number;
  ms: number;
  body: Record<string, unknown>;
  resumedFrom: string | null;
  wokenMs: number;
}

export interface Sleep {
  /** From the call to the answer, when the image is durable. */
  ms: number;
  bytes: number;
  pages: number;
  /** The guest did not run for this long, as the host measured it. */
  stallMs: number;
  durableMs: number;
}

/** One room of a benchmark, used through the public API only. Each answer is checked: a figure of a wrong answer is worth nothing. */
export class BenchRoom {
  #lastEvent: string | null = null;
  private constructor(
    readonly client: ApiClient,
    readonly id: string,
    readonly nonce: string,
  ) {}

  /** Creates a room and waits for its agent's first answer; `ms` is the time between. */
  static async create(client: ApiClient, userId: string): Promise<{ room: BenchRoom; ms: number }> {
    const started = performance.now();
    const { id } = await client.createRoom({ userId });
    const answer = await invoke(client, id, 'nonce');
    const ms = performance.now() - started;
    return { room: new BenchRoom(client, id, nonceOf(answer)), ms };
  }

  /** Sends a message; throws when the agent does not answer as the one that was created. */
  async ask(prompt = 'nonce'): Promise<Answer> {
    const answer = await invoke(this.client, this.id, prompt);
    if (prompt === 'nonce' && nonceOf(answer) !== this.nonce) throw new Error(`${this.id} answered with another nonce: its memory is not what it was`);
    return answer;
  }

  /** Wakes the sleeping room by a message, and returns beside the answer how long the host says that its part took. */
  async wake(): Promise<Answer & { hostMs: number }> {
    const answer = await this.ask();
    if (answer.resumedFrom !== 'memory') throw new Error(`${this.id} woke from ${answer.resumedFrom}, not from memory`);
    const up = await this.#eventThat((event) => event.type === 'state' && event.to === 'running');
    return { ...answer, hostMs: Number(up.detail?.['hostMs'] ?? Number.NaN) };
  }

  async hibernate(): Promise<Sleep> {
    const started = performance.now();
    await this.client.hibernate(this.id);
    const ms = performance.now() - started;
    const { detail } = await this.#eventThat((event) => event.type === 'image');
    const figure = (name: string): number => Number(detail?.[name] ?? Number.NaN);
    return { ms, bytes: figure('bytes'), pages: figure('pages'), stallMs: figure('stallMs'), durableMs: figure('durableMs') };
  }

  async destroy(): Promise<void> {
    await this.client.destroyRoom(this.id);
  }

  /** The first event after the ones already seen that is wanted. */
  async #eventThat(wanted: (event: RoomEvent) => boolean): Promise<RoomEvent> {
    const enough = new AbortController();
    try {
      for await (const { data, id } of this.client.roomEvents(this.id, this.#lastEvent, enough.signal)) {
        this.#lastEvent = id;
        const event = JSON.parse(data) as RoomEvent;
        if (wanted(event)) return event;
      }
    } finally {
      enough.abort();
    }
    throw new Error(`the events of ${this.id} ended`);
  }
}

async function invoke(client: ApiClient, id: string, prompt: string): Promise<Answer> {
  const started = performance.now();
  const answer = await client.call('POST', `/v1/rooms/${id}/invocations`, { json: { prompt }, headers: { accept: 'application/json' } });
  const chunks: Uint8Array[] = [];
  let firstByteMs = 0;
  for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) {
    if (chunks.length === 0) firstByteMs = performance.now() - started;
    chunks.push(chunk);
  }
  const ms = performance.now() - started;
  const { resumedFrom, wokenMs } = aboutWaking(answer);
  return { firstByteMs, ms, body: JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>, resumedFrom, wokenMs: wokenMs ?? 0 };
}

function nonceOf(answer: Answer): string {
  const { nonce } = answer.body;
  if (typeof nonce !== 'string' || nonce.length < 8) throw new Error('the agent gave no nonce');
  return nonce;
}
