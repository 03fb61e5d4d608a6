// Talks to itself before the template is captured, so that what every conversation needs is compiled, loaded and settled in the memory that all rooms share, instead
// of being made again, and kept, by each of them. What is said here is forgotten at the first claim (server.ts).
import { request } from 'node:http';
import { flushCompileCache } from 'node:module';
import { isClaimed } from './claim.ts';

const ROUNDS = 12;
const PROMPTS = ['hello', 'count', 'nonce', 'history', 'random', 'run: true', 'recall', 'checksum'];

/** Ends early when a claim comes: then it is a room that has booted, and somebody is waiting. */
export async function warmUp(port: number): Promise<void> {
  for (let round = 0; round < ROUNDS; round += 1) {
    // Starting processes is slow and does not get warmer by repetition.
    const prompts = round < 2 ? PROMPTS : PROMPTS.slice(0, 4);
    for (const prompt of prompts) {
      if (isClaimed()) return;
      await ask(port, { prompt, stream: round % 4 === 1 });
    }
  }
  // Kept in the template's disk: an agent that starts again, in a room that has booted, compiles nothing.
  flushCompileCache();
  globalThis.gc?.();
}

function ask(port: number, body: object): Promise<void> {
  return new Promise((resolve) => {
    const asked = request({
      host: '127.0.0.1',
      port,
      path: '/invocations',
      method: 'POST',
      headers: { 'content-type': 'application/json', connection: 'close' },
    });
    asked.on('response', (response) => response.resume().on('end', resolve));
    // Warming up is a favour: what does not work here says so when somebody asks for it.
    asked.on('error', () => resolve());
    asked.end(JSON.stringify(body));
  });
}
