import { dot } from './matrix';

/** The indices of the k rows with the largest dot products, the best first. */
export function nearest(rows: readonly ArrayLike<number>[], query: ArrayLike<number>, k: number): number[] {
  const best: { index: number; score: number }[] = [];
  rows.forEach((row, index) => {
    const score = dot(row, query);
    if (best.length === k && score <= (best[k - 1]?.score ?? -Infinity)) return;
    let at = best.length;
    while (at > 0 && (best[at - 1]?.score ?? 0) < score) at -= 1;
    best.splice(at, 0, { index, score });
    if (best.length > k) best.pop();
  });
  return best.map(({ index }) => index);
}

export interface Recall {
  /** Of the ten truly nearest, the share among the ten that the store names. */
  alone: number;
  /** The same after asking for 50, and ordering those by their exact vectors. */
  reranked: number;
}

/** Each query is one of the corpus' own vectors, disturbed a little, and its cloaked form. */
export function recallAt10(plain: readonly Float32Array[], cloaked: readonly Float32Array[], queries: readonly { plain: Float32Array; cloaked: Float32Array }[], overFetch = 50): Recall {
  let [alone, reranked] = [0, 0];
  for (const query of queries) {
    const truth = new Set(nearest(plain, query.plain, 10));
    const found = nearest(cloaked, query.cloaked, overFetch);
    alone += found.slice(0, 10).filter((index) => truth.has(index)).length;
    // Ordered exactly, the fetched keep every true neighbour that is among them: nothing that is not nearer comes before it.
    reranked += found.filter((index) => truth.has(index)).length;
  }
  return { alone: alone / queries.length / 10, reranked: reranked / queries.length / 10 };
}
