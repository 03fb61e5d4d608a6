import { newId } from '@alcove/base';
import fc from 'fast-check';
import { idToBytes } from '../sealed/id-table';
import { fuse, fusionConstant } from './fusion';
import { featuresOf, stem, wordsOf } from './words';
import { bm25, bm25Term, encodeWords, inverseFrequency, WordsStore } from './words-store';

const seed = 20261126;
const all = (): boolean => true;

function storeOf(texts: readonly string[]): { store: WordsStore; ids: string[] } {
  const store = new WordsStore();
  const ids = texts.map((text) => {
    const id = newId('mem');
    const source = Buffer.concat([idToBytes(id), encodeWords(featuresOf(text))]);
    store.put(source, 0, 10);
    return id;
  });
  return { store, ids };
}

/** BM25 written down once more, from the formula and the texts. */
function plainScores(texts: readonly string[], query: string): number[] {
  const documents = texts.map(wordsOf);
  const average = documents.reduce((sum, words) => sum + words.length, 0) / documents.length || 1;
  return documents.map((words) =>
    [...new Set(wordsOf(query))].reduce((sum, word) => {
      const n = documents.filter((other) => other.includes(word)).length;
      const f = words.filter((other) => other === word).length;
      const idf = Math.log(1 + (documents.length - n + 0.5) / (n + 0.5));
      return sum + (idf * f * (bm25.k1 + 1)) / (f + bm25.k1 * (1 - bm25.b + (bm25.b * words.length) / average));
    }, 0),
  );
}

const word = fc.constantFrom('tea', 'coffee', 'paris', 'allergic', 'nuts', 'meeting', 'monday', 'green', 'ann', 'bob');
const text = fc.array(word, { minLength: 1, maxLength: 12 }).map((list) => list.join(' '));

it('scores as the formula of BM25 does', () => {
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 15 }), text, (texts, query) => {
      const { store, ids } = storeOf(texts);
      const scores = plainScores(texts, query);
      const hits = store.byWords(featuresOf(query), 100, all);
      expect(new Set(hits.map(({ id }) => id))).toEqual(new Set(ids.filter((_, index) => (scores[index] ?? 0) > 0)));
      for (const { id, score } of hits) expect(score).toBeCloseTo(scores[ids.indexOf(id)] ?? 0, 9);
      hits.slice(1).forEach(({ score }, index) => expect(score).toBeLessThanOrEqual(hits[index]?.score ?? 0));
    }),
    { seed },
  );
});

it('is never below zero, grows with a word’s count and falls with the length of the text', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1000 }), fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 500 }), (documents, frequency, length) => {
      const idf = inverseFrequency(documents, Math.min(documents, frequency));
      expect(idf).toBeGreaterThan(0);
      expect(bm25Term(idf, frequency + 1, length, 20)).toBeGreaterThan(bm25Term(idf, frequency, length, 20));
      expect(bm25Term(idf, frequency, length + 1, 20)).toBeLessThan(bm25Term(idf, frequency, length, 20));
    }),
    { seed },
  );
});

it('finds a word that is spelt or inflected otherwise by its parts, and nothing that shares none', () => {
  const { store, ids } = storeOf(['she is allergic to peanuts', 'the flight to Lisbon leaves on Monday', 'prefers green tea']);
  expect(store.byParts(featuresOf('alergic to peanut'), 3, all)[0]?.id).toBe(ids[0]);
  expect(store.byWords(featuresOf('Lisboa'), 3, all)).toEqual([]);
  expect(store.byParts(featuresOf('Lisboa'), 3, all)[0]?.id).toBe(ids[1]);
  expect(store.byWords(featuresOf('beverage'), 3, all)).toEqual([]);
  expect(store.byParts(featuresOf('zzz'), 3, all)).toEqual([]);
});

it('asks who is accepted, replaces, drops, and keeps nothing once wiped', () => {
  const { store, ids } = storeOf(['green tea', 'black tea', 'white tea']);
  const bytes = ids.map(idToBytes);
  expect(store.byWords(featuresOf('tea'), 5, (source, at) => source.subarray(at, at + 10).equals(bytes[1] ?? source)).map(({ id }) => id)).toEqual([ids[1]]);
  store.put(Buffer.concat([bytes[0] ?? Buffer.alloc(10), encodeWords(featuresOf('coffee'))]), 0, 10);
  store.drop(bytes[2] ?? Buffer.alloc(10));
  expect(store.byWords(featuresOf('tea'), 5, all).map(({ id }) => id)).toEqual([ids[1]]);
  expect(store.byWords(featuresOf('coffee'), 5, all).map(({ id }) => id)).toEqual([ids[0]]);
  store.wipe();
  expect(store.byWords(featuresOf('coffee tea'), 5, all)).toEqual([]);
});

it('takes words apart in any script', () => {
  expect(wordsOf('Größe: 42 CAFÉS, 東京タワー — наука!')).toEqual(['größe', '42', 'café', '東京タワー', 'наука']);
  expect(['cities', 'dishes', 'cats', 'glass', 'bus'].map(stem)).toEqual(['city', 'dishe', 'cat', 'glass', 'bus']);
});

it('fuses rankings by rank alone', () => {
  const id = fc.integer({ min: 0, max: 30 }).map(String);
  fc.assert(
    fc.property(fc.uniqueArray(id, { maxLength: 20 }), fc.uniqueArray(id, { maxLength: 20 }), (a, b) => {
      const rank = (list: string[], one: string): number => (list.includes(one) ? 1 / (fusionConstant + list.indexOf(one) + 1) : 0);
      const fused = fuse([a.map((one) => ({ id: one })), b.map((one) => ({ id: one }))], 100);
      expect(new Set(fused.map((one) => one.id))).toEqual(new Set([...a, ...b]));
      const sums = fused.map((one) => rank(a, one.id) + rank(b, one.id));
      expect(sums).toEqual([...sums].sort((x, y) => y - x));
      if (fused[0]) expect(fused[0].score).toBe(1);
    }),
    { seed },
  );
});
