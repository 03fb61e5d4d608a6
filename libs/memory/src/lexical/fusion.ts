/** The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009): how little the very first places count more than the next. */
export const fusionConstant = 60;

export interface Fused {
  readonly id: string;
  /** 1 for the best of this fusion. */
  readonly score: number;
}

/** One ranking of several: the sum of 1/(60 + rank) over those that hold an id. Scores of different kinds need not be comparable. Ties keep the order of the first ranking. */
export function fuse(rankings: readonly (readonly { readonly id: string }[])[], k: number): Fused[] {
  const sums = new Map<string, number>();
  for (const ranking of rankings) ranking.forEach(({ id }, index) => sums.set(id, (sums.get(id) ?? 0) + 1 / (fusionConstant + index + 1)));
  const order = [...sums].sort(([, a], [, b]) => b - a);
  const best = order[0]?.[1] ?? 1;
  return order.slice(0, k).map(([id, sum]) => ({ id, score: sum / best }));
}
