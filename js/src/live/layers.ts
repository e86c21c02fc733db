// The models layer by layer: how far they are apart, what each layer would answer, and what becomes
// of an answer that one model begins and the other goes on with.

import {
  keys,
  type Lens,
  type OtherText,
  SIDES,
  type Side,
  type TemplateEffects,
} from "../contract/contract.ts";
import type { Tensor } from "../contract/decode.ts";
import { readingPosition } from "../contract/units.ts";
import { intactOf } from "./occlusion.ts";
import { answerLogprobs, divergence, likeliest, precise, rankOf, rowOf } from "./predictions.ts";
import { provides, type Work } from "./provide.ts";
import { other, type Subject } from "./subject.ts";

/** ||tuned - base|| by the mean of their lengths, [C, layers]. */
function shift(subject: Subject, stage: "attention" | "feedForward" | "residual"): Tensor {
  const { hidden } = subject.pair.models.base.sizes;
  const [base, tuned] = SIDES.map((side) => subject.capture(side)[stage]) as [
    Float32Array[],
    Float32Array[],
  ];
  const data = new Float32Array(subject.common * base.length);
  for (const [layer, own] of base.entries()) {
    const theirs = tuned[layer]!;
    for (let at = 0; at < subject.common; at++) {
      let [one, two, apart] = [0, 0, 0];
      for (let i = at * hidden; i < (at + 1) * hidden; i++) {
        one += own[i]! ** 2;
        two += theirs[i]! ** 2;
        apart += (theirs[i]! - own[i]!) ** 2;
      }
      const scale = (Math.sqrt(one) + Math.sqrt(two)) / 2;
      data[at * base.length + layer] = scale > 0 ? Math.sqrt(apart) / scale : 0;
    }
  }
  return { shape: [subject.common, base.length], data };
}

function lens(subject: Subject, side: Side, token: number): Lens {
  const { hidden, layers } = subject.pair.models[side].sizes;
  const at = readingPosition(token, subject.promptLength);
  const target = subject.ids[side][at + 1]!;
  const stream = new Float32Array((layers + 1) * hidden);
  for (const [layer, rows] of subject.capture(side).residual.entries()) {
    stream.set(rows.subarray(at * hidden, (at + 1) * hidden), layer * hidden);
  }
  const made: Lens = { target: subject.pair.pieces[target]!, layers: [] };
  subject.runner(side).lens(stream, (_, scores, sum) => {
    const row = scores.map((score) => score - sum);
    made.layers.push({
      logprob: row[target]!,
      rank: rankOf(row, target),
      top: likeliest(row, subject.pair.pieces),
    });
  });
  return made;
}

/** Log-probability and rank of every answer token after each layer, [layers + 1, M, 2]. */
function* lensTable(subject: Subject, side: Side, unembedding: Side): Work<Tensor> {
  const { hidden, layers } = subject.pair.models[side].sizes;
  const [n, m] = [subject.promptLength, subject.answerLength(side)];
  const data = new Float32Array((layers + 1) * m * 2);
  for (const [layer, rows] of subject.capture(side).residual.entries()) {
    const stream = rows.subarray((n - 1) * hidden, (n - 1 + m) * hidden);
    subject.runner(unembedding).lens(stream, (i, scores, sum) => {
      const target = subject.ids[side][n + i]!;
      const place = (layer * m + i) * 2;
      data[place] = scores[target]! - sum;
      data[place + 1] = rankOf(scores, target);
    });
    yield { done: layer + 1, total: layers + 1, label: `layers of ${side}` };
  }
  return { shape: [layers + 1, m, 2], data };
}

/** The answer under the first layers of one model and the other's above them, [layers + 1, M, 2]. */
function* handover(subject: Subject, lower: Side): Work<Tensor> {
  const upper = other(lower);
  const { layers, vocabulary } = subject.pair.models[upper].sizes;
  const [n, m] = [subject.promptLength, subject.answerLength(upper)];
  const runner = subject.runner(upper);
  const cache = runner.cache();
  const ids = subject.ids[upper].slice(0, -1);
  const tuned = subject.capture("tuned").logprobs;
  const wanted = Array.from({ length: m }, (_, i) => precise(rowOf(tuned, i, vocabulary)));
  const data = new Float32Array((layers + 1) * m * 2);
  for (let layer = 0; layer <= layers; layer++) {
    const put = (i: number, row: Float32Array) => {
      const place = (layer * m + i) * 2;
      data[place] = row[subject.ids[upper][n + i]!]!;
      data[place + 1] = divergence(wanted[i]!, precise(row));
    };
    if (layer === 0) {
      const own = subject.capture(upper).logprobs;
      for (let i = 0; i < m; i++) put(i, rowOf(own, i, vocabulary));
    } else {
      const stream = { layer, values: subject.capture(lower).residual[layer]! };
      runner.run({ ids, cache, stream }, n - 1, n - 1 + m, (at, scores, sum) =>
        put(
          at - n + 1,
          scores.map((score) => score - sum),
        ),
      );
    }
    yield { done: layer + 1, total: layers + 1, label: `upper layers of ${upper}` };
  }
  return { shape: [layers + 1, m, 2], data };
}

/** Prompt positions that are read without the template. */
function plainPlacesOf(subject: Subject): number[] {
  const { prompt_tokens } = subject.manifest;
  if (!subject.positions("template").length) {
    throw new Error("This prompt is not read in a chat template.");
  }
  const front = subject.pair.front.every((id, i) => prompt_tokens[i]?.id === id)
    ? subject.pair.front.length
    : 0;
  return prompt_tokens.flatMap(({ segment }, i) =>
    i < front || !["special", "template"].includes(segment) ? [i] : [],
  );
}

const without = (subject: Subject, places: readonly number[]) =>
  subject.manifest.prompt_tokens.flatMap((_, i) => (places.includes(i) ? [] : [i]));

/** Other texts that stand in the template's place, for small models and for others. */
const [OTHER_TEXTS, FEW_OTHER_TEXTS] = [19, 9];

/** How likely the answer is with other text of as many tokens in the template's place. */
function* otherTexts(subject: Subject): Work<OtherText[]> {
  const text = subject.pair.otherText;
  const leftOut = without(subject, plainPlacesOf(subject));
  const count = subject.pair.models.tuned.sizes.small ? OTHER_TEXTS : FEW_OTHER_TEXTS;
  const worth = Array.from({ length: count }, (): OtherText => ({ base: 0, tuned: 0 }));
  for (const side of SIDES) {
    for (const [number, other] of worth.entries()) {
      const start = Math.floor((text.length * number) / count);
      const ids = subject.ids[side].slice();
      for (const [i, place] of leftOut.entries()) ids[place] = text[(start + i) % text.length]!;
      const { logprobs } = intactOf(subject.runner(side), ids, subject.promptLength);
      other[side] = logprobs.reduce((all, value) => all + value, 0);
      yield {
        done: number + 1,
        total: count,
        label: `reading other text in place of the template, ${side}`,
      };
    }
  }
  return worth;
}

/** What the weights and what the chat template add to each answer token. */
function* template(subject: Subject): Work<TemplateEffects> {
  const plainPlaces = plainPlacesOf(subject);
  const inside = {} as Record<Side, number[]>;
  const plain = {} as Record<Side, number[]>;
  for (const [done, side] of SIDES.entries()) {
    const ids = [...plainPlaces.map((i) => subject.ids[side][i]!), ...subject.answer(side)];
    plain[side] = [...intactOf(subject.runner(side), ids, plainPlaces.length).logprobs];
    inside[side] = [...answerLogprobs(subject, side)];
    yield { done: done + 1, total: SIDES.length, label: "reading without the template" };
  }
  const less = (a: number[], b: number[]) => a.map((value, i) => value - b[i]!);
  const weights = less(inside.tuned, inside.base);
  return {
    left_out: without(subject, plainPlaces),
    base: inside.base,
    tuned: inside.tuned,
    base_plain: plain.base,
    tuned_plain: plain.tuned,
    weights,
    template: less(inside.tuned, plain.tuned),
    together: less(weights, less(plain.tuned, plain.base)),
  };
}

export const LAYERS = [
  provides(keys.shiftAttention, (subject) => shift(subject, "attention")),
  provides(keys.shiftFeedForward, (subject) => shift(subject, "feedForward")),
  provides(keys.shiftResidual, (subject) => shift(subject, "residual")),
  provides(keys.lens, lens),
  provides(keys.lensTable, lensTable),
  provides(keys.handover, handover),
  provides(keys.template, template),
  provides(keys.otherTexts, otherTexts),
];
