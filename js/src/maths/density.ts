// Importance levels, importance density and the instruction score of Wu et al. (2310.00492),
// as in widgets/twinlens/measures/density.py.

export interface DensitySettings {
  /** L, the number of importance levels. */
  levels: number;
  /** b: levels not above it count as 0. */
  threshold: number;
  /** p of the l1 / lp ratio. */
  norm: number;
  /** Divide by the largest density in the prompt, as the authors' analysis does. */
  relative: boolean;
}

/** `ceil(L * max(I, 0) / (column maximum + eps))`, cut off at L; `scored` rows set the maximum. */
export function levels(
  importance: ArrayLike<number>,
  columns: number,
  count = 10,
  scored?: readonly number[],
  eps = 1e-7,
): Float64Array {
  const rows = columns ? importance.length / columns : 0;
  const level = new Float64Array(importance.length);
  for (let m = 0; m < columns; m++) {
    let largest = 0;
    const reference = scored ?? Array.from({ length: rows }, (_, n) => n);
    for (const n of reference) largest = Math.max(largest, importance[n * columns + m]!);
    for (let n = 0; n < rows; n++) {
      const positive = Math.max(importance[n * columns + m]!, 0);
      level[n * columns + m] = Math.min(Math.ceil((positive / (largest + eps)) * count), count);
    }
  }
  return level;
}

/** Importance density `||S_n||_1 / (||S_n||_p + eps)` of every row. */
export function rawDensity(
  level: ArrayLike<number>,
  columns: number,
  threshold = 7,
  norm = 4,
  eps = 1e-9,
): Float64Array {
  const density = new Float64Array(columns ? level.length / columns : 0);
  for (let n = 0; n < density.length; n++) {
    let sum = 0;
    let powers = 0;
    for (let m = 0; m < columns; m++) {
      const value = level[n * columns + m]!;
      if (value > threshold) {
        sum += value;
        powers += value ** norm;
      }
    }
    density[n] = sum / (powers ** (1 / norm) + eps);
  }
  return density;
}

/** Densities divided by the largest one among the scored rows. */
export function relativeDensity(
  raw: Float64Array,
  scored?: readonly number[],
  eps = 1e-9,
): Float64Array {
  const reference = scored ? scored.map((n) => raw[n]!) : [...raw];
  const largest = Math.max(0, ...reference);
  return raw.map((value) => value / (largest + eps));
}

/** Density of every prompt token from raw effects [N, M]. */
export function density(
  importance: ArrayLike<number>,
  columns: number,
  settings: DensitySettings,
  scored?: readonly number[],
): Float64Array {
  const level = levels(importance, columns, settings.levels, scored);
  const raw = rawDensity(level, columns, settings.threshold, settings.norm);
  return settings.relative ? relativeDensity(raw, scored) : raw;
}

/** Summed density over `log2(2 + n)` for n instruction tokens; 0 with none. */
export function instructionScore(
  values: ArrayLike<number>,
  instruction: readonly number[],
): number {
  if (instruction.length === 0) return 0;
  let sum = 0;
  for (const n of instruction) sum += values[n]!;
  return sum / Math.log2(2 + instruction.length);
}
