// The sentences about long-term memory.
import type { Answer, Request } from './commands.ts';
import { drop, find, keep } from './long-term.ts';

/** "remember that …": told with its id, so that it can be found again. */
export async function rememberThat([, fact = '']: RegExpMatchArray, { signal }: Request): Promise<Answer> {
  const content = fact.trim();
  const id = await keep(content, signal);
  return { reply: `I will remember that ${content}`, memory: { id, content } };
}

/** "what do you know about …": each with whose word it is, because that is not for the reader to guess. */
export async function tellAbout([, subject = '']: RegExpMatchArray, { signal }: Request): Promise<Answer> {
  const memories = await find(subject.trim(), signal);
  if (memories.length === 0) return { reply: `I know nothing about ${subject.trim()}.`, memories };
  return { reply: memories.map(({ content, trust }) => `- ${content} (${wordOf(trust)})`).join('\n'), memories };
}

/** "forget …": everything found in which all these words are. */
export async function forgetAbout([, subject = '']: RegExpMatchArray, { signal }: Request): Promise<Answer> {
  const words = wordsOf(subject);
  const memories = (await find(subject.trim(), signal)).filter(({ content }) => words.every((word) => wordsOf(content).includes(word)));
  if (memories.length === 0) return { reply: `I know nothing about ${subject.trim()}.`, forgotten: [] };
  const forgotten = [];
  for (const memory of memories) forgotten.push({ ...memory, how: await drop(memory, signal) });
  const lines = forgotten.map(({ content, how }) => `- ${content}${how === 'hidden' ? ' (hidden: you said it yourself, so only you can erase it)' : ''}`);
  return { reply: ['I have forgotten:', ...lines].join('\n'), forgotten };
}

function wordOf(trust: string): string {
  switch (trust) {
    case 'user':
      return 'you said so';
    case 'application':
      return 'the application said so';
    case 'agent':
      return 'I noted it';
    default:
      return `not verified: ${trust}`;
  }
}

function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
}
