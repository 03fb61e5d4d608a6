import { seededRandom, type Random } from '@alcove/base';
import type { AddMemory } from '@alcove/contracts';
import { exactDot } from '@alcove/memory';

export const dimensions = 384;
const clusters = 200;
const words = 'tea coffee paris oslo meeting monday allergic nuts flight train hotel budget report invoice garden bicycle guitar piano doctor school holiday birthday weather project server backup recipe kitchen window mountain river winter summer brother sister neighbour painting museum'.split(' ');

/** Vectors around some centres, as embeddings of texts about some subjects are; records and queries whose numbers lead to them. All from one seed. */
export class Corpus {
  readonly #centres: Float32Array[];
  readonly #vectors: Float32Array[] = [];
  readonly #random: Random = seededRandom(20261126);

  constructor() {
    this.#centres = Array.from({ length: clusters }, () => this.#direction());
  }

  vector(number: number): Float32Array {
    while (this.#vectors.length <= number) this.#vectors.push(this.near(this.#centres[this.#random.below(clusters)] ?? new Float32Array(dimensions)));
    return this.#vectors[number] ?? new Float32Array(dimensions);
  }

  /** Something in the same direction, with noise as large as itself. */
  near(centre: Float32Array): Float32Array {
    const noise = this.#direction();
    return normalised(centre.map((value, index) => value + (noise[index] ?? 0)));
  }

  record(number: number): AddMemory {
    const random = seededRandom(number + 1);
    const text = Array.from({ length: 14 }, () => words[random.below(words.length)]).join(' ');
    return { kind: 'fact', content: `${text} #${number}`, title: null, tags: [], source: { kind: 'message', ref: null, trust: 'user' }, confidence: 1, evidence: [], validFrom: null, validTo: null, expiresAt: null, supersedes: null };
  }

  /** Answers like an embeddings endpoint, without a network: what is measured is what this platform does. */
  readonly fetcher = async (_url: string, init: RequestInit): Promise<Response> => {
    const { input } = JSON.parse(init.body as string) as { input: string[] };
    const data = input.map((text, index) => ({ index, embedding: Buffer.from(this.vector(Number(/#(\d+)$/.exec(text)?.[1] ?? 0)).buffer).toString('base64') }));
    return new Response(JSON.stringify({ data }));
  };

  #direction(): Float32Array {
    return normalised(Float32Array.from({ length: dimensions }, () => this.#random.below(2_000_001) / 1_000_000 - 1));
  }
}

function normalised(vector: Float32Array): Float32Array {
  const norm = Math.sqrt(exactDot(vector, vector));
  return vector.map((value) => value / norm);
}
