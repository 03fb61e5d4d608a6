/** Just as much linear algebra as the experiment needs, in doubles. */
export class Matrix {
  readonly values: Float64Array;

  /** Row by row. */
  constructor(
    readonly rows: number,
    readonly columns: number,
    values?: Float64Array,
  ) {
    this.values = values ?? new Float64Array(rows * columns);
  }

  static ofRows(rows: readonly ArrayLike<number>[]): Matrix {
    const made = new Matrix(rows.length, rows[0]?.length ?? 0);
    rows.forEach((row, index) => made.values.set(row, index * made.columns));
    return made;
  }

  row(index: number): Float64Array {
    return this.values.subarray(index * this.columns, (index + 1) * this.columns);
  }

  transposed(): Matrix {
    const made = new Matrix(this.columns, this.rows);
    for (let i = 0; i < this.rows; i++) for (let j = 0; j < this.columns; j++) made.values[j * this.rows + i] = this.values[i * this.columns + j] ?? 0;
    return made;
  }

  times(other: Matrix): Matrix {
    const made = new Matrix(this.rows, other.columns);
    for (let i = 0; i < this.rows; i++) {
      const [from, into] = [this.row(i), made.row(i)];
      for (let k = 0; k < from.length; k++) addScaled(into, other.row(k), from[k] ?? 0);
    }
    return made;
  }
}

export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] ?? 0) * (b[i] ?? 0);
  return sum;
}

export function addScaled(into: Float64Array, from: ArrayLike<number>, factor: number): void {
  if (factor === 0) return;
  for (let i = 0; i < into.length; i++) into[i] = (into[i] ?? 0) + factor * (from[i] ?? 0);
}

export const norm = (a: ArrayLike<number>): number => Math.sqrt(dot(a, a));

export function scale(a: Float64Array, factor: number): void {
  for (let i = 0; i < a.length; i++) a[i] = (a[i] ?? 0) * factor;
}

/** Makes rows orthonormal, in place (Gram and Schmidt, twice: Giraud et al. 2005). A row that the ones before it make up becomes zero. */
export function orthonormalise(matrix: Matrix): void {
  for (let i = 0; i < matrix.rows; i++) {
    const row = matrix.row(i);
    const before = norm(row);
    for (let pass = 0; pass < 2; pass++) for (let j = 0; j < i; j++) addScaled(row, matrix.row(j), -dot(row, matrix.row(j)));
    const length = norm(row);
    scale(row, length > before * 1e-9 ? 1 / length : 0);
  }
}

/**
 * The orthogonal matrix nearest to a square one: U·Vᵀ of its singular value decomposition, found by one-sided Jacobi rotations of rows (Hestenes 1958), which turn A into Σ·Vᵀ
 * while Uᵀ is collected. Directions without a singular value are left out, so for a matrix of less than full rank the result is a partial isometry.
 */
export function polarFactor(square: Matrix): Matrix {
  const size = square.rows;
  const a = new Matrix(size, size, square.values.slice());
  const u = new Matrix(size, size);
  for (let i = 0; i < size; i++) u.values[i * size + i] = 1;
  for (let sweep = 0; sweep < 30 && jacobiSweep(a, u) > 1e-10; sweep++);
  const lengths = Array.from({ length: size }, (_, index) => norm(a.row(index)));
  const least = Math.max(...lengths) * 1e-9;
  const made = new Matrix(size, size);
  lengths.forEach((length, k) => {
    if (length <= least) return;
    for (let i = 0; i < size; i++) addScaled(made.row(i), a.row(k), (u.values[k * size + i] ?? 0) / length);
  });
  return made;
}

/** One rotation for each pair of rows that are not orthogonal; the largest cosine that was met. */
function jacobiSweep(a: Matrix, u: Matrix): number {
  let worst = 0;
  const squares = Array.from({ length: a.rows }, (_, index) => dot(a.row(index), a.row(index)));
  const none = Math.max(...squares) * 1e-20;
  for (let p = 0; p < a.rows - 1; p++) {
    for (let q = p + 1; q < a.rows; q++) {
      const [alpha, beta] = [squares[p] ?? 0, squares[q] ?? 0];
      if (alpha <= none || beta <= none) continue;
      const gamma = dot(a.row(p), a.row(q));
      const cosine = Math.abs(gamma) / Math.sqrt(alpha * beta);
      if (cosine < 1e-10) continue;
      worst = Math.max(worst, cosine);
      const zeta = (beta - alpha) / (2 * gamma);
      const t = Math.sign(zeta || 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
      const c = 1 / Math.sqrt(1 + t * t);
      rotate(a.row(p), a.row(q), c, c * t);
      rotate(u.row(p), u.row(q), c, c * t);
      squares[p] = alpha - t * gamma;
      squares[q] = beta + t * gamma;
    }
  }
  return worst;
}

function rotate(x: Float64Array, y: Float64Array, c: number, s: number): void {
  for (let i = 0; i < x.length; i++) {
    const [a, b] = [x[i] ?? 0, y[i] ?? 0];
    x[i] = c * a - s * b;
    y[i] = s * a + c * b;
  }
}
