import { dot, Matrix, norm, polarFactor } from './matrix';
import { nearest } from './nearest';

export interface AttackResult {
  /** Mean cosine of what the attacker reconstructs and the true vector. */
  cosine: number;
  /** How often the text whose vector is nearest to the reconstruction, among all candidates, is the right one. */
  top1: number;
}

/**
 * Who knows `pairs` plain vectors and their points looks at the other points. Orthogonal Procrustes (Schönemann 1966): the rotation nearest to what the pairs say, turned back on each
 * target. The candidates are all plain vectors, the true one among them: an attacker who has a list of what the user may have stored.
 */
export function procrustesAttack(plain: readonly Float32Array[], cloaked: readonly Float32Array[], pairs: number, targets: number): AttackResult {
  const known = Matrix.ofRows(cloaked.slice(0, pairs)).transposed().times(Matrix.ofRows(plain.slice(0, pairs)));
  // cloaked ≈ R·plain, so plain ≈ Rᵀ·cloaked.
  const back = polarFactor(known).transposed();
  return judge(plain, pairs, targets, (index) => back.times(new Matrix(cloaked[index]?.length ?? 0, 1, Float64Array.from(cloaked[index] ?? []))).values);
}

/** The same for a keyed shuffle of coordinates with noise: each coordinate of the points is taken for the plain one that the pairs resemble most. */
export function shuffleAttack(plain: readonly Float32Array[], shuffled: readonly Float32Array[], pairs: number, targets: number): AttackResult {
  const size = plain[0]?.length ?? 0;
  const columns = (rows: readonly Float32Array[]): Float64Array[] => Array.from({ length: size }, (_, at) => Float64Array.from(rows.slice(0, pairs), (row) => row[at] ?? 0));
  const [plainColumns, shuffledColumns] = [columns(plain), columns(shuffled)];
  const distance = (a: Float64Array, b: Float64Array): number => dot(a, a) - 2 * dot(a, b) + dot(b, b);
  const guess = shuffledColumns.map((column) => {
    const distances = plainColumns.map((candidate) => distance(candidate, column));
    return distances.indexOf(Math.min(...distances));
  });
  return judge(plain, pairs, targets, (index) => {
    const made = new Float64Array(size);
    shuffled[index]?.forEach((value, at) => (made[guess[at] ?? 0] = value));
    return made;
  });
}

function judge(plain: readonly Float32Array[], pairs: number, targets: number, reconstruct: (index: number) => Float64Array): AttackResult {
  let [cosine, right] = [0, 0];
  for (let n = 0; n < targets; n++) {
    const index = pairs + n;
    const guess = reconstruct(index);
    cosine += dot(guess, plain[index] ?? []) / (norm(guess) || 1);
    if (nearest(plain, guess, 1)[0] === index) right += 1;
  }
  return { cosine: cosine / targets, top1: right / targets };
}
