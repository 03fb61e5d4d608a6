import { z } from 'zod';
import { type EmulatedAnswer, type EmulatedRequest, HttpEmulator } from './http-emulator';

/** What this project sends of `POST /v1/chat/completions` (OpenAI API reference, "Create chat completion"); anything else is refused, as a strict server does. */
const Body = z.strictObject({
  model: z.string().min(1),
  messages: z.array(z.strictObject({ role: z.enum(['system', 'user', 'assistant']), content: z.string().min(1) })).min(1),
  temperature: z.number().min(0).max(2).optional(),
  response_format: z.strictObject({ type: z.literal('json_object') }).optional(),
});

export interface AskedModel {
  readonly authorization: string | undefined;
  readonly model: string;
  /** The last message, which is the user's. */
  readonly prompt: string;
}

/** An OpenAI-compatible server without a model: what it says to a prompt is a function of the test's. */
export class ModelEmulator {
  readonly asked: AskedModel[] = [];
  http!: HttpEmulator;

  private constructor(
    private readonly says: (prompt: string) => string,
    private readonly apiKey: string | undefined,
  ) {}

  static async start(says: (prompt: string) => string, { apiKey }: { apiKey?: string } = {}): Promise<ModelEmulator> {
    const emulator = new ModelEmulator(says, apiKey);
    emulator.http = await HttpEmulator.start((request) => emulator.#answer(request));
    return emulator;
  }

  get baseUrl(): string {
    return `${this.http.url}/v1`;
  }

  #answer({ method, path, headers, body }: EmulatedRequest): EmulatedAnswer {
    if (method !== 'POST' || path !== '/v1/chat/completions') return refused(404, 'no such route');
    if (this.apiKey !== undefined && headers.authorization !== `Bearer ${this.apiKey}`) return refused(401, 'wrong key');
    const parsed = Body.safeParse(JSON.parse(body));
    if (!parsed.success) return refused(400, parsed.error.message);
    const { model, messages, response_format: format } = parsed.data;
    // As OpenAI does: JSON must be spoken of where it is asked for.
    if (format && !messages.some(({ content }) => content.includes('JSON'))) return refused(400, "'messages' must contain the word 'json' in some form");
    const prompt = messages.at(-1)?.content ?? '';
    this.asked.push({ authorization: headers.authorization, model, prompt });
    const choice = { index: 0, message: { role: 'assistant', content: this.says(prompt), refusal: null }, logprobs: null, finish_reason: 'stop' };
    return json(200, { id: 'chatcmpl-1', object: 'chat.completion', created: 1, model, choices: [choice], usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 } });
  }
}

const json = (status: number, body: object): EmulatedAnswer => ({ status, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
const refused = (status: number, message: string): EmulatedAnswer => json(status, { error: { message, type: 'invalid_request_error', param: null, code: null } });
