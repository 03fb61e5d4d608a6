import { createHash } from 'node:crypto';
import { type EmbeddingsEndpoint, Problem } from '@alcove/contracts';
import { limits } from '@alcove/base';
import { z } from 'zod';
import { askEndpoint, type Fetch } from '../endpoint';

/** The answer of `POST {baseUrl}/embeddings` (OpenAI API reference, "Create embeddings"): numbers, or the same as base64 of f32, little-endian. Servers add fields of their own. */
const Answer = z.object({ data: z.array(z.object({ index: z.int().min(0), embedding: z.union([z.array(z.number()), z.base64()]) })) });

/**
 * What makes vectors comparable: host, model, dimensions, prefixes, and that they are normalised here. 16 bytes as hexadecimal. Whoever moves a server to another address makes another
 * space, for nothing tells that the model behind it is the same.
 */
export function spaceOf({ baseUrl, model, dimensions, queryPrefix, documentPrefix }: EmbeddingsEndpoint): string {
  const { host, pathname } = new URL(baseUrl);
  return createHash('sha256').update(JSON.stringify(['alcove/space/1', host, pathname, model, dimensions, queryPrefix, documentPrefix, 'l2'])).digest('hex').slice(0, 32);
}

/** Asks one endpoint. Texts go out in plain; nothing of them is logged or part of an error. */
export class EmbeddingsClient {
  readonly space: string;

  constructor(
    private readonly endpoint: EmbeddingsEndpoint,
    /** Asked for each call, and not kept. */
    private readonly apiKey: () => Promise<string | null>,
    private readonly fetcher: Fetch = fetch,
  ) {
    this.space = spaceOf(endpoint);
  }

  /** One vector of length 1 per text, in batches of at most 64. Problem `memory.embeddings`: no answer in time, a refusal, or an answer that is none. */
  async embed(kind: 'document' | 'query', texts: readonly string[]): Promise<Float32Array[]> {
    const prefix = kind === 'query' ? this.endpoint.queryPrefix : this.endpoint.documentPrefix;
    const vectors: Float32Array[] = [];
    for (let at = 0; at < texts.length; at += limits.memory.embedBatch) vectors.push(...(await this.#batch(texts.slice(at, at + limits.memory.embedBatch).map((text) => prefix + text))));
    const [first] = vectors;
    if (first && vectors.some((vector) => vector.length !== first.length)) throw wrong('vectors of different dimensions');
    return vectors;
  }

  async #batch(input: readonly string[]): Promise<Float32Array[]> {
    const { baseUrl, model, dimensions } = this.endpoint;
    const body = { model, input, encoding_format: 'base64', ...(dimensions === null ? {} : { dimensions }) };
    const { embedMs: timeoutMs, embedAnswerBytes: answerBytes } = limits.memory;
    return this.#vectors(await askEndpoint({ fetcher: this.fetcher, baseUrl, path: 'embeddings', apiKey: await this.apiKey(), body, timeoutMs, answerBytes, wrong }), input.length);
  }

  #vectors(json: unknown, count: number): Float32Array[] {
    const parsed = Answer.safeParse(json);
    if (!parsed.success) throw wrong('not the form of an answer');
    const sorted = [...parsed.data.data].sort((a, b) => a.index - b.index);
    if (sorted.length !== count || sorted.some(({ index }, place) => index !== place)) throw wrong(`${sorted.length} vectors for ${count} texts`);
    return sorted.map(({ embedding }) => normalised(numbersOf(embedding), this.endpoint.dimensions));
  }
}

function numbersOf(embedding: number[] | string): Float32Array {
  if (typeof embedding !== 'string') return Float32Array.from(embedding);
  const bytes = Buffer.from(embedding, 'base64');
  if (bytes.length % 4 !== 0) throw wrong('a vector of a broken number');
  return Float32Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readFloatLE(index * 4));
}

/** Divided by its length. Problem `memory.embeddings`: not finite, zero, too long, or not as many numbers as were asked for. */
function normalised(vector: Float32Array, dimensions: number | null): Float32Array {
  if (vector.length === 0 || vector.length > limits.memory.dimensions || (dimensions !== null && vector.length !== dimensions)) throw wrong(`a vector of ${vector.length} dimensions`);
  const norm = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  if (!Number.isFinite(norm) || norm === 0) throw wrong('a vector without a direction');
  return vector.map((value) => value / norm);
}

function wrong(what: string, cause?: unknown): Problem {
  return new Problem('memory.embeddings', { detail: `The embeddings endpoint gave ${what}.`, ...(cause === undefined ? {} : { cause }) });
}
