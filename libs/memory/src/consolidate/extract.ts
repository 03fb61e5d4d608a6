import type { MemoryKind } from '@alcove/contracts';

/** What a rule or a model found in something that was said. */
export interface Proposal {
  readonly kind: Exclude<MemoryKind, 'block'>;
  readonly content: string;
  /** What there is one of: a newer one takes the place of an older one. */
  readonly slot: string | null;
}

interface Rule {
  readonly kind: Proposal['kind'];
  readonly pattern: RegExp;
  readonly slot: string | null;
  readonly says: (what: string, verb: string) => string;
}

/** The rest of the sentence. */
const rest = String.raw`([^.!?\n]{2,300})`;
const rule = (kind: Proposal['kind'], before: string, slot: string | null, says: Rule['says']): Rule => ({ kind, slot, says, pattern: new RegExp(String.raw`(?:^|[.!?,;:\n]\s*|\band\s+)(?:please\s+)?${before}\s+${rest}`, 'giu') });

/**
 * English sentences about the speaker, and what is to be remembered. Rules find little and invent nothing; a model, where a tenant has one, is asked instead. In each the first
 * group is a verb or empty, the second what is kept.
 */
const rules: readonly Rule[] = [
  rule('fact', String.raw`()my name is`, 'name', (what) => `The user's name is ${what}`),
  rule('preference', String.raw`()call me`, 'called', (what) => `The user wants to be called ${what}`),
  rule('fact', String.raw`()i (?:live|now live) in`, 'home', (what) => `The user lives in ${what}`),
  rule('fact', String.raw`()i(?:'ve| have)? moved to`, 'home', (what) => `The user lives in ${what}`),
  rule('fact', String.raw`()i work (?:at|for)`, 'employer', (what) => `The user works at ${what}`),
  rule('fact', String.raw`()(?:i am|i'm) allergic to`, null, (what) => `The user is allergic to ${what}`),
  rule('preference', String.raw`(?:i (?:really |always )?)(like|love|prefer|hate|dislike)`, null, (what, verb) => `The user ${verb.toLowerCase()}s ${what}`),
  rule('procedure', String.raw`()(?:from now on|in future|in the future),?`, null, (what) => `From now on: ${what}`),
  rule('fact', String.raw`()(?:remember|note|don't forget)(?: that|:)?`, null, (what) => what),
];

const aboutSpeaker = /^(?:my name is|call me|i (?:live|work|moved|like|love|prefer|hate|dislike)|(?:i am|i'm) allergic)/iu;

/** In the order in which they were said; each once. */
export function extract(content: string): Proposal[] {
  const found: (Proposal & { at: number })[] = [];
  for (const { kind, pattern, slot, says } of rules) {
    for (const match of content.matchAll(pattern)) {
      const [, verb = '', what = ''] = match;
      const said = what.trim().replace(/[\s,;:]+$/u, '');
      // "remember that I live in Oslo": the sentence inside says it better.
      if (said.length < 2 || (kind === 'fact' && slot === null && aboutSpeaker.test(said))) continue;
      found.push({ kind, content: says(said, verb), slot, at: match.index });
    }
  }
  const inner = [...content.matchAll(/(?:remember|note|don't forget)(?: that|:)?\s+([^.!?\n]{2,300})/giu)].flatMap(([, said = '']) => (aboutSpeaker.test(said) ? extract(said) : []));
  const all = [...found.sort((a, b) => a.at - b.at).map(({ at: _, ...proposal }) => proposal), ...inner];
  return all.filter((one, index) => all.findIndex((other) => sameText(other.content, one.content)) === index);
}

/** Two texts that say the same but for case, spaces and the stop at their end. */
export function sameText(a: string, b: string): boolean {
  const plain = (text: string): string => text.normalize('NFKC').toLowerCase().replace(/\s+/gu, ' ').replace(/[.!?]+$/u, '').trim();
  return plain(a) === plain(b);
}
