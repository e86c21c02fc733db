// What both models predict at the tokens of an answer.

import {
  type AnswerStep,
  keys,
  type Prediction,
  SIDES,
  type Side,
  type Word,
} from "../contract/contract.ts";
import { provides } from "./provide.ts";
import type { Subject } from "./subject.ts";

/** Tokens that are listed of a prediction. */
const TOP = 5;
/** Ranks under the other model up to which a token is unshifted, or marginal (2312.01552). */
const SHIFTS = [
  [1, "unshifted"],
  [3, "marginal"],
] as const;

export function rowOf(logprobs: Float32Array, row: number, width: number): Float32Array {
  return logprobs.subarray(row * width, (row + 1) * width);
}

/** Tokens and probabilities of the largest entries, without one of them if asked. */
export function likeliest(row: Float32Array, pieces: readonly string[], besides?: number): Word[] {
  const best: number[] = [];
  for (let id = 0; id < row.length; id++) {
    if (id === besides || !(best.length < TOP || row[id]! > row[best[TOP - 1]!]!)) continue;
    let place = Math.min(best.length, TOP - 1);
    for (; place > 0 && row[id]! > row[best[place - 1]!]!; place--) best[place] = best[place - 1]!;
    best[place] = id;
  }
  return best.map((id) => [pieces[id]!, Math.exp(row[id]!)]);
}

export function rankOf(row: Float32Array, target: number): number {
  let rank = 1;
  for (const value of row) if (value > row[target]!) rank++;
  return rank;
}

/** KL(p || q), nats. */
export function divergence(p: Float64Array, q: Float64Array): number {
  return Math.max(divergences(p, q, p.length)[0]!, 0);
}

/** Log-probabilities, more precisely, of one row of them. */
export const precise = (row: Float32Array) => logprobs(row, row.length);

/** Log-probabilities from rows of logits, into `made`. */
export function logprobs(
  rows: Float32Array,
  width: number,
  made: Float64Array = new Float64Array(rows.length),
): Float64Array {
  for (let from = 0; from < rows.length; from += width) {
    let most = Number.NEGATIVE_INFINITY;
    for (let i = from; i < from + width; i++) most = Math.max(most, rows[i]!);
    let sum = 0;
    for (let i = from; i < from + width; i++) sum += Math.exp(rows[i]! - most);
    const all = most + Math.log(sum);
    for (let i = from; i < from + width; i++) made[i] = rows[i]! - all;
  }
  return made;
}

/** KL(p || q) of each row of log-probabilities, nats; rounding may make it negative. */
export function divergences(p: Float64Array, q: Float64Array, width: number): number[] {
  return Array.from({ length: p.length / width }, (_, row) => {
    let total = 0;
    for (let i = row * width; i < (row + 1) * width; i++) {
      total += Math.exp(p[i]!) * (p[i]! - q[i]!);
    }
    return total;
  });
}

function prediction(row: Float32Array, target: number, pieces: readonly string[]): Prediction {
  const rank = rankOf(row, target);
  const expects = likeliest(row, pieces);
  if (rank > TOP) expects[TOP - 1] = [pieces[target]!, Math.exp(row[target]!)];
  let entropy = 0;
  for (let i = 0; i < row.length; i++) entropy -= Math.exp(row[i]!) * row[i]!;
  return { logprob: row[target]!, rank, entropy, expects };
}

function steps(subject: Subject): AnswerStep[] {
  const { pieces, models } = subject.pair;
  const width = models.base.sizes.vocabulary;
  // Seen from the model whose answer it is not; a given text counts as tuned's.
  const seen = subject.manifest.response === "base" ? "tuned" : "base";
  return Array.from({ length: subject.answerLength("tuned") }, (_, m) => {
    const rows = SIDES.map((side) => rowOf(subject.capture(side).logprobs, m, width));
    const [base, tuned] = rows.map((row, i) =>
      prediction(row, subject.ids[SIDES[i]!][subject.promptLength + m]!, pieces),
    ) as [Prediction, Prediction];
    const [p, q] = rows.map(precise) as [Float64Array, Float64Array];
    const { rank } = seen === "base" ? base : tuned;
    const shift = SHIFTS.find(([most]) => rank <= most)?.[1] ?? "shifted";
    return { base, tuned, kl: divergence(q, p), kl_back: divergence(p, q), shift };
  });
}

/** Log-probability of each answer token. */
export function answerLogprobs(subject: Subject, side: Side): Float32Array {
  const { logprobs } = subject.capture(side);
  const width = subject.pair.models[side].sizes.vocabulary;
  return Float32Array.from(subject.answer(side), (id, m) => logprobs[m * width + id]!);
}

export const PREDICTIONS = [
  provides(keys.answerSteps, steps),
  provides(keys.logprob, (subject, side) => {
    const data = answerLogprobs(subject, side);
    return { shape: [data.length], data };
  }),
  provides(keys.disagreement, (subject) => {
    const data = Float32Array.from(steps(subject), ({ kl }) => kl);
    return { shape: [data.length], data };
  }),
  provides(keys.alternatives, (subject, side) => {
    const { logprobs } = subject.capture(side);
    const width = subject.pair.models[side].sizes.vocabulary;
    return subject
      .answer(side)
      .map((id, m) => likeliest(rowOf(logprobs, m, width), subject.pair.pieces, id));
  }),
];
