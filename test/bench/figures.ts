/** Arithmetic of samples, and what a benchmark hands back. */

export interface Summary {
  samples: number;
  p50: number;
  p99: number;
  min: number;
  max: number;
  mean: number;
}

/** The p-th percentile (0…100) by linear interpolation between closest ranks (method 7 of Hyndman and Fan 1996). Throws on no samples. */
export function percentile(samples: readonly number[], p: number): number {
  if (samples.length === 0) throw new Error('no samples');
  const sorted = [...samples].sort((a, b) => a - b);
  const rank = ((sorted.length - 1) * p) / 100;
  const below = sorted[Math.floor(rank)] ?? 0;
  const above = sorted[Math.ceil(rank)] ?? 0;
  return below + (above - below) * (rank - Math.floor(rank));
}

/** Rounded to a hundredth: the clocks are not better than that. */
export function summarise(samples: readonly number[]): Summary {
  const round = (value: number): number => Math.round(value * 100) / 100;
  return {
    samples: samples.length,
    p50: round(percentile(samples, 50)),
    p99: round(percentile(samples, 99)),
    min: round(Math.min(...samples)),
    max: round(Math.max(...samples)),
    mean: round(samples.reduce((sum, value) => sum + value, 0) / samples.length),
  };
}

export interface Target {
  name: string;
  value: number;
  op: '<=' | '>=';
  limit: number;
  ok: boolean;
}

export function target(name: string, value: number, op: Target['op'], limit: number): Target {
  const rounded = Math.round(value * 1000) / 1000;
  return { name, value: rounded, op, limit, ok: op === '<=' ? rounded <= limit : rounded >= limit };
}
