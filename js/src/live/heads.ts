// What attention heads look at, what they write, and what the answer loses without them.

import { type Ablation, keys, type Side } from "../contract/contract.ts";
import type { Tensor } from "../contract/decode.ts";
import { directionOf } from "./concepts.ts";
import { denseOf } from "./model.ts";
import { without } from "./occlusion.ts";
import { provides, type Work } from "./provide.ts";
import { attentionRow, other, rowStart, type Subject } from "./subject.ts";

/** One number for each position of a pattern's rows, or of its columns. */
type Measure = (row: Float32Array, at: number) => number;

/** [rows, layers, heads] from the rows of all patterns of a side. */
function measured(subject: Subject, side: Side, measure: Measure): Tensor {
  return eachHead(subject, subject.length(side), (layer, head, at) =>
    measure(attentionRow(subject, side, layer, head, at), at),
  );
}

/** [rows, layers, heads]. */
function eachHead(
  subject: Subject,
  rows: number,
  measure: (layer: number, head: number, at: number) => number,
): Tensor {
  const { layers, heads } = subject.pair.models.base.sizes;
  const data = new Float32Array(rows * layers * heads);
  for (let i = 0; i < data.length; i++) {
    const at = Math.floor(i / (layers * heads));
    data[i] = measure(Math.floor(i / heads) % layers, i % heads, at);
  }
  return { shape: [rows, layers, heads], data };
}

const sum = (row: ArrayLike<number>) => {
  let total = 0;
  for (let i = 0; i < row.length; i++) total += row[i]!;
  return total;
};

function entropy(row: Float32Array): number {
  const total = sum(row);
  let bits = 0;
  for (const weight of row) if (weight > 0) bits -= (weight / total) * Math.log2(weight / total);
  return Math.abs(bits);
}

/** Mean attention to prompt tokens from where the answer is predicted, [N, layers, heads]. */
function received(subject: Subject, side: Side): Tensor {
  const [n, length] = [subject.promptLength, subject.length(side)];
  const { patterns } = subject.capture(side);
  return eachHead(subject, n, (layer, head, token) => {
    let total = 0;
    for (let at = n - 1; at < length - 1; at++) {
      total += patterns[layer]![rowStart(length, head, at) + token]!;
    }
    return total / Math.max(length - n, 1);
  });
}

/** Jensen-Shannon divergence of the two models' rows, bits, [C, layers, heads]. */
function change(subject: Subject): Tensor {
  return eachHead(subject, subject.common, (layer, head, at) => {
    const row = (side: Side) => attentionRow(subject, side, layer, head, at);
    return jensenShannon(row("base"), row("tuned"));
  });
}

function jensenShannon(p: Float32Array, q: Float32Array): number {
  const [all, others] = [sum(p), sum(q)];
  let total = 0;
  for (let i = 0; i < p.length; i++) {
    const a = p[i]! / all;
    const b = q[i]! / others;
    const middle = (a + b) / 2;
    if (a > 0) total += (a * Math.log2(a / middle)) / 2;
    if (b > 0) total += (b * Math.log2(b / middle)) / 2;
  }
  return Math.min(Math.max(total, 0), 1);
}

/** Output of every head along a direction of the residual stream, [T, layers, heads]. */
function written(subject: Subject, side: Side, layer: number, unit: string): Tensor {
  const model = subject.pair.models[side];
  const { layers, heads, headSize, hidden } = model.sizes;
  const direction = directionOf(subject, side, layer, unit);
  const width = heads * headSize;
  const length = subject.length(side);
  const data = new Float32Array(length * layers * heads);
  for (let at = 0; at < layers; at++) {
    const weights = denseOf(subject.pair.heap, model.layers[at]!.o, hidden, width);
    const reads = new Float64Array(width);
    for (let row = 0; row < hidden; row++) {
      for (let i = 0; i < width; i++) reads[i]! += direction[row]! * weights[row * width + i]!;
    }
    const outputs = subject.capture(side).heads[at]!;
    for (let t = 0; t < length; t++) {
      for (let head = 0; head < heads; head++) {
        let total = 0;
        for (let i = head * headSize; i < (head + 1) * headSize; i++) {
          total += outputs[t * width + i]! * reads[i]!;
        }
        data[(t * layers + at) * heads + head] = total;
      }
    }
  }
  return { shape: [length, layers, heads], data };
}

/** Exact effects that are known, [layers, heads, M]; NaN elsewhere. */
function known(subject: Subject, side: Side, ablation: Ablation): Float32Array {
  if (ablation === "other" && !subject.manifest.shared) {
    throw new Error(
      "Replacing a head by the other model’s needs one answer that both models read.",
    );
  }
  const { layers, heads } = subject.pair.models[side].sizes;
  const length = layers * heads * subject.answerLength(side);
  return subject.once(`heads/${side}/${ablation}`, () => new Float32Array(length).fill(Number.NaN));
}

/** Put something in the place of one head's output, and see what the answer loses. */
function measure(
  subject: Subject,
  side: Side,
  ablation: Ablation,
  layer: number,
  head: number,
): void {
  const { heads, headSize } = subject.pair.models[side].sizes;
  const width = heads * headSize;
  const m = subject.answerLength(side);
  const table = known(subject, side, ablation);
  const place = (layer * heads + head) * m;
  if (!Number.isNaN(table[place]!)) return;
  const from = head * headSize;
  const rows = subject.length(side) - 1;
  const own = subject.capture(ablation === "other" ? other(side) : side).heads[layer]!;
  const mean = new Float32Array(headSize);
  if (ablation === "mean") {
    for (let t = 0; t < rows; t++) {
      for (let i = 0; i < headSize; i++) mean[i]! += own[t * width + from + i]! / rows;
    }
  }
  const lost = without(subject, side, layer, (stage, at, values, first) => {
    if (stage !== "heads" || at !== layer) return;
    for (let t = 0; t * width < values.length; t++) {
      const to = values.subarray(t * width + from, t * width + from + headSize);
      if (ablation !== "other") to.set(mean);
      else to.set(own.subarray((first + t) * width + from, (first + t) * width + from + headSize));
    }
  });
  table.set(lost, place);
}

/** Effects on one answer token, or on the answer. */
function picked(
  subject: Subject,
  side: Side,
  table: Float32Array,
  token: number | "answer",
): Tensor {
  const { layers, heads } = subject.pair.models[side].sizes;
  const m = subject.answerLength(side);
  const data = Float32Array.from({ length: layers * heads }, (_, i) =>
    token === "answer" ? sum(table.subarray(i * m, (i + 1) * m)) : table[i * m + token]!,
  );
  return { shape: [layers, heads], data };
}

/** Every head: a page has no estimate to choose some by. */
function* ablated(
  subject: Subject,
  side: Side,
  ablation: Ablation,
  token: number | "answer",
): Work<Tensor> {
  const { layers, heads } = subject.pair.models[side].sizes;
  const table = known(subject, side, ablation);
  for (let i = 0; i < layers * heads; i++) {
    measure(subject, side, ablation, Math.floor(i / heads), i % heads);
    yield { done: i + 1, total: layers * heads, label: `exact effect of heads, ${side}` };
  }
  return picked(subject, side, table, token);
}

export const HEADS = [
  provides(keys.attention, (subject, side, layer, head) => {
    const length = subject.length(side);
    const data = new Float32Array(length * length);
    for (let at = 0; at < length; at++) {
      data.set(attentionRow(subject, side, layer, head, at), at * length);
    }
    return { shape: [length, length], data };
  }),
  provides(keys.headChange, change),
  provides(keys.headInstruction, (subject, side) => {
    const positions = subject.positions("instruction");
    return measured(subject, side, (row) => positions.reduce((all, at) => all + (row[at] ?? 0), 0));
  }),
  provides(keys.headSink, (subject, side) => measured(subject, side, (row) => row[0]!)),
  provides(keys.headReceived, received),
  provides(keys.headEntropy, (subject, side) => measured(subject, side, entropy)),
  provides(keys.headPrevious, (subject, side) =>
    measured(subject, side, (row, at) => (at ? row[at - 1]! : 0)),
  ),
  provides(keys.headWrite, written),
  provides(keys.headAblation, ablated),
  provides(keys.headAblationSoFar, (subject, side, ablation, token) =>
    picked(subject, side, known(subject, side, ablation), token),
  ),
  provides(keys.headAblationOne, (subject, side, ablation, token, layer, head) => {
    measure(subject, side, ablation, layer, head);
    const all = picked(subject, side, known(subject, side, ablation), token);
    const { heads } = subject.pair.models[side].sizes;
    return { shape: [1], data: all.data.slice(layer * heads + head, layer * heads + head + 1) };
  }),
];
