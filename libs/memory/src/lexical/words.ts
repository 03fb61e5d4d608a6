import { limits } from '@alcove/base';

/** What of a text is looked up by its words. */
export interface TextFeatures {
  /** Words in all, for BM25's length. */
  readonly length: number;
  /** Hash of each different word, and how often it stands there. */
  readonly words: ReadonlyMap<number, number>;
  /** Weight of each bucket of signed feature hashing; zero sums are left out. */
  readonly parts: ReadonlyMap<number, number>;
}

/** Buckets of feature hashing. */
export const partBuckets = 32_768;
const weights = { word: 1, pair: 0.6, gram: 0.35 };
const gramLengths = [3, 4, 5];

/** 32-bit FNV-1a over UTF-16 code units, with the last mixing of MurmurHash3, so that its low bits may be used alone. */
export function hashText(text: string, salt = 0): number {
  let hash = 0x811c9dc5 ^ salt;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** Harman's S-stemmer ("How effective is suffixing?", 1991): English plurals only, which does little harm to other languages. */
export function stem(word: string): string {
  if (/[^ea]ies$/.test(word)) return `${word.slice(0, -3)}y`;
  if (/[^aeo]es$/.test(word)) return word.slice(0, -1);
  if (/[^us]s$/.test(word) && word.length > 3) return word.slice(0, -1);
  return word;
}

/** Words in order: NFKC, lower case, runs of letters, marks and digits; stemmed. */
export function wordsOf(text: string): string[] {
  return (text.normalize('NFKC').toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? []).slice(0, limits.memory.wordsIndexed).map(stem);
}

/**
 * Words for BM25, and signed feature hashing (Weinberger et al., 2009) of words, pairs of neighbours and the 3- to 5-grams within a word: what finds a word that is spelt
 * or inflected otherwise. It finds nothing that shares no letters with the query, so it is never called semantic.
 */
export function featuresOf(text: string): TextFeatures {
  const list = wordsOf(text);
  const words = new Map<number, number>();
  const counts = new Map<string, { kind: keyof typeof weights; count: number }>();
  const count = (key: string, kind: keyof typeof weights): void => {
    const known = counts.get(key);
    if (known) known.count += 1;
    else if (counts.size < limits.memory.partsIndexed) counts.set(key, { kind, count: 1 });
  };
  list.forEach((word, index) => {
    const hash = hashText(word);
    words.set(hash, (words.get(hash) ?? 0) + 1);
    count(`w ${word}`, 'word');
    if (index > 0) count(`p ${list[index - 1]} ${word}`, 'pair');
  });
  for (const word of new Set(list)) {
    const framed = `<${word}>`;
    for (const length of gramLengths) for (let at = 0; at + length <= framed.length; at++) count(`g ${framed.slice(at, at + length)}`, 'gram');
  }
  const parts = new Map<number, number>();
  for (const [key, { kind, count: times }] of counts) {
    const hash = hashText(key, 0x5bd1e995);
    const bucket = hash % partBuckets;
    parts.set(bucket, (parts.get(bucket) ?? 0) + (hash >>> 31 === 0 ? 1 : -1) * weights[kind] * (1 + Math.log(times)));
  }
  return { length: list.length, words, parts };
}
