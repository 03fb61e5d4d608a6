import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { z } from 'zod';

/** What `POST /v1/embeddings` takes (OpenAI API reference, "Create embeddings"); anything else is refused, as a strict server does. */
const Body = z.strictObject({
  model: z.string(),
  input: z.array(z.string().min(1)).min(1).max(2048),
  dimensions: z.int().min(1).optional(),
  encoding_format: z.enum(['float', 'base64']).default('float'),
});

export interface EmbeddingsEmulatorOptions {
  readonly apiKey?: string;
  readonly dimensions?: number;
  /** As servers that know base64 not. */
  readonly floatsOnly?: boolean;
}

/**
 * An OpenAI-compatible embeddings server without a model: a text's vector is made of what it is about, by a list of words that mean the same, so that tests can tell searching by meaning from
 * searching by words. Not normalised, as some servers' are not.
 */
export class EmbeddingsEmulator {
  readonly asked: { authorization: string | undefined; model: string; input: string[]; dimensions: number | undefined }[] = [];
  /** What to do instead of answering, once per entry. */
  readonly failures: ((answer: ServerResponse) => void)[] = [];
  readonly #server: Server = createServer((request, answer) => void this.#answer(request, answer));
  readonly #apiKey: string | undefined;
  readonly #dimensions: number;
  readonly #floatsOnly: boolean;

  constructor(
    private readonly meanings: readonly (readonly string[])[],
    { apiKey, dimensions = 16, floatsOnly = false }: EmbeddingsEmulatorOptions = {},
  ) {
    this.#apiKey = apiKey;
    this.#dimensions = dimensions;
    this.#floatsOnly = floatsOnly;
  }

  /** Starts; resolves with the base URL. */
  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/v1`;
  }

  close(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  vectorOf(text: string, dimensions = this.#dimensions): number[] {
    const vector = Array<number>(dimensions).fill(0.01);
    this.meanings.forEach((words, index) => {
      const count = words.filter((word) => text.toLowerCase().includes(word)).length;
      vector[index % dimensions] = (vector[index % dimensions] ?? 0) + count * 3;
    });
    return vector;
  }

  async #answer(request: IncomingMessage, answer: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const failure = this.failures.shift();
    if (failure) return failure(answer);
    const send = (status: number, body: object): void => void answer.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    const refuse = (status: number, message: string): void => send(status, { error: { message, type: 'invalid_request_error', param: null, code: null } });
    if (request.method !== 'POST' || request.url !== '/v1/embeddings') return refuse(404, 'no such route');
    if (this.#apiKey !== undefined && request.headers.authorization !== `Bearer ${this.#apiKey}`) return refuse(401, 'wrong key');
    const body = Body.safeParse(JSON.parse(Buffer.concat(chunks).toString('utf8')));
    if (!body.success) return refuse(400, body.error.message);
    const { model, input, dimensions, encoding_format: format } = body.data;
    this.asked.push({ authorization: request.headers.authorization, model, input, dimensions });
    const data = input.map((text, index) => {
      const vector = this.vectorOf(text, dimensions);
      const embedding = format === 'base64' && !this.#floatsOnly ? Buffer.from(Float32Array.from(vector).buffer).toString('base64') : vector;
      return { object: 'embedding', index, embedding };
    });
    send(200, { object: 'list', data: data.reverse(), model, usage: { prompt_tokens: 1, total_tokens: 1 } });
  }
}
