import { Secret } from '@alcove/base';
import { randomNumbers } from '../../libs/memory/src/qdrant/transform/key-stream';
import { ballPoint } from '../../libs/memory/src/qdrant/transform/noise';
import { VectorCloak } from '../../libs/memory/src/qdrant/transform/vector-cloak';
import type { BenchOptions, BenchReport } from './report';
import { procrustesAttack, shuffleAttack, type AttackResult } from './vector-privacy/attacks';
import { clusters, dimensions, embedTexts, experimentRandom, paragraphs } from './vector-privacy/corpora';
import { norm } from './vector-privacy/matrix';
import { recallAt10 } from './vector-privacy/nearest';

const seed = 20261126;
const queries = 200;
const targets = 200;
const noises = [0, 0.1, 0.2, 0.3, 0.5, 0.75, 1];
const attackedNoises = [0, 0.2, 0.5];
const pairCounts = [64, 128, 256, 384, 1000, 2000];
const shuffledPairs = [1, 8, 16, 64];

/**
 * What the transform before Qdrant costs in recall and what it withstands: an experiment, not a test; it has no targets. Everything is drawn from one seed; the texts are the documentation
 * in this checkout and its packages, so another version of those gives slightly other figures.
 */
export async function benchVectorPrivacy(root: string, options: BenchOptions): Promise<Pick<BenchReport, 'figures' | 'targets'>> {
  const numbers = randomNumbers(experimentRandom(seed));
  options.say('collect and embed texts');
  const texts = paragraphs(root);
  const corpora = { clusters: clusters(numbers), texts: shuffledOrder(embedTexts(texts, numbers)) };
  const figures: BenchReport['figures'] = { seed, dimensions, 'vectors of clusters': corpora.clusters.length, 'vectors of texts': corpora.texts.length };
  for (const [name, vectors] of Object.entries(corpora)) {
    for (const noise of noises) {
      options.say(`${name}: recall, noise ${noise}`);
      figures[`${name}: recall@10, noise ${noise}`] = recallOf(vectors, noise);
    }
    for (const noise of attackedNoises) {
      const cloaked = cloakAll(vectors, noise);
      for (const pairs of pairCounts) {
        options.say(`${name}: attack, noise ${noise}, ${pairs} pairs`);
        figures[`${name}: rotation, noise ${noise}, ${pairs} pairs`] = say(procrustesAttack(vectors, cloaked, pairs, targets));
      }
    }
    for (const noise of attackedNoises) {
      const shuffled = shuffleAll(vectors, noise);
      for (const pairs of shuffledPairs) figures[`${name}: shuffle only, noise ${noise}, ${pairs} pairs`] = say(shuffleAttack(vectors, shuffled, pairs, targets));
    }
  }
  return { figures, targets: [] };
}

const three = (value: number): string => value.toFixed(3);
const say = ({ cosine, top1 }: AttackResult): string => `cosine ${three(cosine)}   right text ${three(top1)}`;

/** Neighbours in a file must not be what the attacker knows. */
function shuffledOrder(vectors: readonly Float32Array[]): Float32Array[] {
  const random = randomNumbers(experimentRandom(seed + 1));
  return vectors.map((vector) => ({ vector, at: random.u32() })).sort((a, b) => a.at - b.at).map(({ vector }) => vector);
}

const cloakFor = (noise: number): VectorCloak => new VectorCloak(new Secret(Buffer.alloc(32, 7)), 'experiment', dimensions, experimentRandom(seed + 2), noise);

function cloakAll(vectors: readonly Float32Array[], noise: number): Float32Array[] {
  const cloak = cloakFor(noise);
  return vectors.map((vector) => cloak.cloak(vector));
}

function recallOf(vectors: readonly Float32Array[], noise: number): string {
  const cloak = cloakFor(noise);
  const cloaked = vectors.map((vector) => cloak.cloak(vector));
  const random = randomNumbers(experimentRandom(seed + 3));
  const asked = Array.from({ length: queries }, () => {
    const [one, disturbance] = [vectors[random.below(vectors.length)] ?? new Float32Array(dimensions), ballPoint(dimensions, 0.3, random)];
    const query = one.map((value, index) => value + (disturbance[index] ?? 0));
    const length = norm(query);
    const plain = query.map((value) => value / length);
    return { plain, cloaked: cloak.cloak(plain) };
  });
  const { alone, reranked } = recallAt10(vectors, cloaked, asked);
  return `alone ${three(alone)}   over-fetch 50 and exact rerank ${three(reranked)}`;
}

/** One secret order of the coordinates, and the same noise: what is sold as such elsewhere. */
function shuffleAll(vectors: readonly Float32Array[], noise: number): Float32Array[] {
  const random = randomNumbers(experimentRandom(seed + 4));
  const order = Array.from({ length: dimensions }, (_, index) => ({ index, at: random.u32() })).sort((a, b) => a.at - b.at).map(({ index }) => index);
  return vectors.map((vector) => {
    const disturbance = ballPoint(dimensions, noise, random);
    return Float32Array.from(order, (from, at) => (vector[from] ?? 0) + (disturbance[at] ?? 0));
  });
}
