// What chance does: Student's t, the binomial distribution, and whether a pair is told from it.

import type { AnswerStep, ChangedBlock, Null } from "../contract/contract.ts";

/** Chance that a pair may be told from one that learned nothing by accident. */
const LEVEL = 1e-4;
/** Nats per token below which models predict the same. */
const FLOOR = 1e-3;
/** Predictions have to differ by so many times what rounding tuned to bfloat16 does. */
const ROUNDINGS = 2;
/** How many times as far as chance an update that points somewhere moves predictions. */
const TIMES = 2;
/** Largest share of all weights that an update of some places changes. */
const FEW = 0.5;

const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
const mean = (values: readonly number[]) => total(values) / values.length;

/** Whether both models predict the same but for the rounding of sums. */
export function same(steps: readonly AnswerStep[]): boolean {
  return total(steps.map(({ kl }) => kl)) <= FLOOR * steps.length;
}

/** Whether predictions differ by more than what learns nothing does (`measures/chance.py`). */
export function distinguishable(steps: readonly AnswerStep[], model: Null): boolean {
  const kl = total(steps.map((step) => step.kl));
  if (same(steps) || kl <= ROUNDINGS * total(model.rounding)) return false;
  if (changedPlaces(model).length) return true;
  return timesAsFar(model) > TIMES && pValue(model.update, model.scrambled) < LEVEL;
}

/** Chance of an update without direction to move predictions as far as this one does. */
export function pValue(update: readonly number[], scrambled: readonly number[][]): number {
  const drawn = scrambled.map(logDistance);
  if (drawn.every((distance) => distance === drawn[0])) return 1;
  const spread = deviation(drawn) * Math.sqrt(1 + 1 / drawn.length);
  return studentTail((logDistance(update) - mean(drawn)) / spread, drawn.length - 1);
}

/** Chance that a value is as far from some draws, either way, if it is one more of them. */
export function beyond(value: number, drawn: readonly number[]): number {
  if (drawn.length < 3) return 1;
  const spread = deviation(drawn) * Math.sqrt(1 + 1 / drawn.length);
  const apart = Math.abs(value - mean(drawn));
  if (spread === 0) return Number(apart === 0);
  return 2 * studentTail(apart / spread, drawn.length - 1);
}

/** How many times as far as with other signs the update moves predictions. */
export function timesAsFar({ update, scrambled }: Null): number {
  return Math.exp(logDistance(update) - mean(scrambled.map(logDistance)));
}

/** Blocks that were changed, farthest first, where they hold the smaller part of all weights. */
export function changedPlaces({ changed }: Null): ChangedBlock[] {
  const places = changed.filter(({ length }) => length > 0);
  if (total(places.map(({ weights }) => weights)) > FEW) return [];
  return places.sort((a, b) => b.length - a.length);
}

/** How far predictions moved: KL of a small move is half its squared length. */
function logDistance(kl: readonly number[]): number {
  return Math.log(Math.max(total(kl.map((value) => Math.sqrt(Math.max(value, 0)))), 1e-12));
}

/** Standard deviation of a sample. */
function deviation(values: readonly number[]): number {
  const middle = mean(values);
  const squares = total(values.map((value) => (value - middle) ** 2));
  return Math.sqrt(squares / (values.length - 1));
}

/** Chance of more than `t` under Student's distribution. */
export function studentTail(t: number, freedom: number): number {
  const tail = incompleteBeta(freedom / 2, 0.5, freedom / (freedom + t * t)) / 2;
  return t >= 0 ? tail : 1 - tail;
}

/** Chance of at least `found` of `asked`, each by `chance`. */
export function binomialTail(hits: number, asked: number, chance: number): number {
  if (hits <= 0 || chance >= 1) return 1;
  return incompleteBeta(hits, asked - hits + 1, chance);
}

/** The regularised incomplete beta function, by its continued fraction (Lentz's way). */
function incompleteBeta(a: number, b: number, x: number): number {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(b, a, 1 - x);
  const front = logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x);
  const apart = (value: number) => (Math.abs(value) < 1e-300 ? 1e-300 : value);
  let c = 1;
  let d = 1 / apart(1 - ((a + b) * x) / (a + 1));
  let value = d;
  for (let m = 1; m < 500; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / apart(1 + even * d);
    c = apart(1 + even / c);
    value *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / apart(1 + odd * d);
    c = apart(1 + odd / c);
    value *= d * c;
    if (Math.abs(d * c - 1) < 1e-15) break;
  }
  return (Math.exp(front) * value) / a;
}

/** Logarithm of the gamma function, by Stirling's series behind a few steps. */
function logGamma(value: number): number {
  let [x, shift] = [value, 0];
  while (x < 12) shift -= Math.log(x++);
  const square = x * x;
  const series = (1 / 12 - (1 / 360 - (1 / 1260 - 1 / 1680 / square) / square) / square) / x;
  return shift + (x - 0.5) * Math.log(x) - x + Math.log(2 * Math.PI) / 2 + series;
}
