// How much each part should carry: gates integrated along the way from one model's parts to the
// other's. All gates open together; the derivative of KL to the other model by each of them, taken
// backwards through the pass, is integrated along the way.

import type { Exchange } from "./exchange.ts";
import { padded, transpose } from "./model.ts";
import type { Stage } from "./pass.ts";
import { logprobs } from "./predictions.ts";
import type { Work } from "./provide.ts";
import { other } from "./subject.ts";

/** Points on the way, those of Gauss and Legendre, and their weights. */
const POINTS = [
  0.0198550717512319, 0.1016667612931866, 0.2372337950418355, 0.4082826787521751,
  0.5917173212478249, 0.7627662049581645, 0.8983332387068134, 0.9801449282487681,
];
const WEIGHTS = [
  0.0506142681451881, 0.1111905172266872, 0.1568533229389436, 0.181341891689181, 0.181341891689181,
  0.1568533229389436, 0.1111905172266872, 0.0506142681451881,
];

/** Share of KL that each part takes away on the way; of one answer token, or of all. */
export function* integratedGates(exchange: Exchange, column: number | null): Work<Float64Array> {
  const total = new Float64Array(exchange.layout.count);
  const back = exchange.subject.once(`back/${exchange.into}`, () => new Back(exchange));
  for (const [step, point] of POINTS.entries()) {
    const slopes = back.slopes(point, column);
    for (let i = 0; i < total.length; i++) total[i]! -= slopes[i]! * WEIGHTS[step]!;
    const label = "which parts carry the difference: estimate";
    yield { done: step + 1, total: POINTS.length, label };
  }
  return total;
}

/** Numbers of one layer, as a pass leaves them. */
interface Kept {
  entering: Float32Array;
  patterns: Float32Array;
  heads: Float32Array;
  attention: Float32Array;
  middle: Float32Array;
  feedForward: Float32Array;
}

/** Derivatives by the gates of one exchange, in memory of its own, which is used again and again. */
class Back {
  readonly #exchange: Exchange;
  readonly #input: number;
  readonly #output: number;
  /** A matrix on its side: kept for none, they are as large as the model. */
  readonly #turned: number;
  readonly #lists = new Map<string, Float32Array>();

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    const { subject, runner } = exchange;
    const { heap } = subject.pair;
    const { model, room } = runner;
    const { hidden, intermediate, heads, headSize, vocabulary } = model.sizes;
    const widest = Math.max(intermediate, heads * headSize, padded(vocabulary));
    this.#turned = heap.take(widest * padded(Math.max(hidden, heads * headSize)));
    this.#input = heap.take((room + 4) * widest);
    this.#output = heap.take((room + 4) * widest);
  }

  /** Numbers under a name, good until they are asked for again; what they are is anything. */
  #list(name: string, count: number): Float32Array {
    let list = this.#lists.get(name);
    if (list?.length !== count) {
      list = new Float32Array(count);
      this.#lists.set(name, list);
    }
    return list;
  }

  /** The same numbers under a name. */
  #copied(name: string, values: Float32Array): Float32Array {
    const list = this.#list(name, values.length);
    list.set(values);
    return list;
  }

  #left(name: string, count: number): Float32Array {
    return this.#copied(name, this.#exchange.subject.pair.heap.view(this.#output, count));
  }

  /** Rows times a matrix [inner, columns] in panels. */
  #times(
    name: string,
    rows: Float32Array,
    weights: number,
    inner: number,
    columns: number,
  ): Float32Array {
    const { heap } = this.#exchange.subject.pair;
    const count = rows.length / inner;
    heap.view(this.#input, rows.length).set(rows);
    heap.kernel.matmul(this.#input, weights, this.#output, count, inner, columns);
    return this.#left(name, count * columns);
  }

  /** Rows times a matrix whose columns stand where those of others have their rows. */
  #timesTurned(
    name: string,
    rows: Float32Array,
    weights: number,
    inner: number,
    columns: number,
  ): Float32Array {
    transpose(this.#exchange.subject.pair.heap, weights, inner, columns, this.#turned);
    return this.#times(name, rows, this.#turned, inner, columns);
  }

  /** Rows by their root mean square, times a gain. */
  #normed(rows: Float32Array, gain: number): Float32Array {
    const { heap } = this.#exchange.subject.pair;
    const { hidden, eps } = this.#exchange.runner.model.sizes;
    heap.view(this.#input, rows.length).set(rows);
    heap.kernel.rmsnorm(this.#input, gain, this.#output, rows.length / hidden, hidden, eps);
    return this.#left("normed", rows.length);
  }

  /** Backwards through the same, added to `to`. */
  #backNormed(rows: Float32Array, gain: number, given: Float32Array, to: Float32Array): void {
    const { hidden, eps } = this.#exchange.runner.model.sizes;
    const gains = this.#exchange.subject.pair.heap.view(gain, hidden);
    for (let at = 0; at < rows.length; at += hidden) {
      let squares = 0;
      let along = 0;
      for (let i = 0; i < hidden; i++) {
        const x = rows[at + i]!;
        squares += x * x;
        along += gains[i]! * given[at + i]! * x;
      }
      const scale = 1 / Math.sqrt(squares / hidden + eps);
      const less = (scale ** 3 * along) / hidden;
      for (let i = 0; i < hidden; i++) {
        to[at + i]! += scale * gains[i]! * given[at + i]! - less * rows[at + i]!;
      }
    }
  }

  /** Derivatives of KL by all gates, where all of them are open as far. */
  slopes(open: number, column: number | null): Float64Array {
    const exchange = this.#exchange;
    const { subject, layout, runner, theirs, donor } = exchange;
    const { model } = runner;
    const { sizes } = model;
    const { hidden, vocabulary, layers, heads, headSize } = sizes;
    const [n, m] = [subject.promptLength, subject.answerLength(exchange.into)];
    const made = new Float64Array(layout.count);
    const { kept, rows, final } = this.#pass(open);
    const length = kept[0]!.entering.length / hidden;

    // Predictions: what one and the other model make of the last residual stream.
    const stream = final.subarray((n - 1) * hidden, (n - 1 + m) * hidden);
    const others = this.#list("others", m * vocabulary);
    subject
      .runner(other(exchange.into))
      .lens(stream, (row, scores) => others.set(scores, row * vocabulary));
    const mixed = this.#list("mixed", rows.length);
    for (let i = 0; i < rows.length; i++) mixed[i] = rows[i]! + open * (others[i]! - rows[i]!);
    const slope = klSlope(logprobs(mixed, vocabulary), exchange.donorLogprobs, vocabulary, column);
    for (let i = 0; i < slope.length; i++) {
      made[layout.unembedding]! += slope[i]! * (others[i]! - rows[i]!);
    }
    const last = new Float32Array(m * hidden);
    for (const [read, share] of [
      [model, 1 - open],
      [donor, open],
    ] as const) {
      const given = this.#timesTurned("given", slope, read.unembedding, vocabulary, hidden);
      this.#backNormed(stream, read.norm, scale(given, share), last);
    }
    const back = this.#list("back", length * hidden).fill(0);
    back.set(last, (n - 1) * hidden);

    for (let layer = layers - 1; layer >= 0; layer--) {
      const inner = kept[layer]!;
      made[layout.feedForward(layer)]! += apart(
        back,
        theirs.feedForward[layer]!,
        inner.feedForward,
      );
      this.#backFeedForward(layer, inner.middle, back, 1 - open);
      const width = heads * headSize;
      const own = this.#timesTurned("own", back, model.layers[layer]!.o, hidden, width);
      const donors = this.#timesTurned("donors", back, donor.layers[layer]!.o, hidden, width);
      const [given, read] = [theirs.heads[layer]!, inner.heads];
      for (let i = 0; i < own.length; i++) {
        const head = Math.floor((i % width) / headSize);
        made[layout.head(layer, head)]! += donors[i]! * given[i]! - own[i]! * read[i]!;
      }
      this.#backAttention(layer, inner, back, scale(own, 1 - open));
    }
    made[0] = apart(back, theirs.residual[0]!, exchange.own.residual[0]!);
    return made;
  }

  /** The pass itself, with what is needed to go back through it. */
  #pass(open: number): { kept: Kept[]; rows: Float32Array; final: Float32Array } {
    const { subject, runner, theirs, own, into } = this.#exchange;
    const { layers, vocabulary } = runner.model.sizes;
    const [n, m] = [subject.promptLength, subject.answerLength(into)];
    const inners = Array.from({ length: layers }, () => ({}) as Kept);
    let final: Float32Array = new Float32Array();
    const rows = this.#list("rows", m * vocabulary);
    const mix = (values: Float32Array, others: Float32Array) => {
      for (let i = 0; i < values.length; i++) values[i]! += open * (others[i]! - values[i]!);
    };
    const visit = (stage: Stage, layer: number, values: Float32Array) => {
      if (stage === "residual") {
        if (layer === 0) mix(values, theirs.residual[0]!);
        const entering = this.#copied(`${layer}/entering`, values);
        if (layer === layers) final = entering;
        else inners[layer]!.entering = entering;
      } else if (stage === "attention" || stage === "feedForward") {
        inners[layer]![stage] = this.#copied(`${layer}/${stage}`, values);
        mix(values, theirs[stage][layer]!);
        if (stage === "attention") {
          const middle = this.#copied(`${layer}/middle`, inners[layer]!.entering);
          inners[layer]!.middle = add(middle, values);
        }
      } else if (stage !== "neurons") {
        inners[layer]![stage] = this.#copied(`${layer}/${stage}`, values);
      }
    };
    const stream = { layer: 0, values: own.residual[0]! };
    const ids = subject.ids[into].slice(0, -1);
    const cache = subject.once(`exchange/${into}/cache`, () => runner.cache());
    runner.run({ ids, cache, stream, visit, whole: true }, n - 1, n - 1 + m, (at, scores) =>
      rows.set(scores, (at - n + 1) * vocabulary),
    );
    return { kept: inners, rows, final };
  }

  /** `back` backwards through a feed-forward layer, a share of which is the model's own. */
  #backFeedForward(layer: number, middle: Float32Array, back: Float32Array, share: number): void {
    const { model } = this.#exchange.runner;
    const { hidden, intermediate } = model.sizes;
    const w = model.layers[layer]!;
    const normed = this.#normed(middle, w.feedForwardNorm);
    const gate = this.#times("gate", normed, w.gate, hidden, intermediate);
    const up = this.#times("up", normed, w.up, hidden, intermediate);
    const some = scale(this.#copied("some", back), share);
    const neurons = this.#timesTurned("neurons", some, w.down, hidden, intermediate);
    for (let i = 0; i < neurons.length; i++) {
      const sigmoid = 1 / (1 + Math.exp(-gate[i]!));
      const given = neurons[i]!;
      const own = gate[i]!;
      gate[i] = given * up[i]! * sigmoid * (1 + own * (1 - sigmoid));
      up[i] = given * own * sigmoid;
    }
    const given = add(
      this.#timesTurned("of gate", gate, w.gate, intermediate, hidden),
      this.#timesTurned("of up", up, w.up, intermediate, hidden),
    );
    this.#backNormed(middle, w.feedForwardNorm, given, back);
  }

  /** `back` backwards through attention; `given` is what comes to the outputs of its heads. */
  #backAttention(layer: number, inner: Kept, back: Float32Array, given: Float32Array): void {
    const { runner, subject } = this.#exchange;
    const { model, room } = runner;
    const { hidden, heads, kvHeads, headSize } = model.sizes;
    const { kernel } = subject.pair.heap;
    const w = model.layers[layer]!;
    const length = inner.entering.length / hidden;
    const [width, narrow] = [heads * headSize, kvHeads * headSize];
    const normed = this.#normed(inner.entering, w.attentionNorm);
    const rotated = (name: string, weights: number, count: number) => {
      this.#times(name, normed, weights, hidden, count * headSize);
      kernel.rotate(this.#output, runner.cos, runner.sin, 0, length, count, headSize);
      return this.#left(name, length * count * headSize);
    };
    const queries = rotated("queries", w.q, heads);
    const keys = rotated("keys", w.k, kvHeads);
    const values = this.#times("values", normed, w.v, hidden, narrow);
    const toQueries = this.#list("to queries", queries.length).fill(0);
    const toKeys = this.#list("to keys", keys.length).fill(0);
    const toValues = this.#list("to values", values.length).fill(0);
    const scale = 1 / Math.sqrt(headSize);
    const row = new Float64Array(length);
    for (let head = 0; head < heads; head++) {
      const group = Math.floor(head / (heads / kvHeads)) * headSize;
      for (let t = 0; t < length; t++) {
        const pattern = (head * length + t) * room;
        const query = t * width + head * headSize;
        let mean = 0;
        for (let s = 0; s <= t; s++) {
          const weight = inner.patterns[pattern + s]!;
          const value = s * narrow + group;
          let to = 0;
          for (let i = 0; i < headSize; i++) {
            to += given[query + i]! * values[value + i]!;
            toValues[value + i]! += weight * given[query + i]!;
          }
          row[s] = to;
          mean += weight * to;
        }
        for (let s = 0; s <= t; s++) {
          const slope = inner.patterns[pattern + s]! * (row[s]! - mean) * scale;
          const key = s * narrow + group;
          for (let i = 0; i < headSize; i++) {
            toQueries[query + i]! += slope * keys[key + i]!;
            toKeys[key + i]! += slope * queries[query + i]!;
          }
        }
      }
    }
    this.#turnBack(toQueries, length, heads);
    this.#turnBack(toKeys, length, kvHeads);
    const through = add(
      add(
        this.#timesTurned("of queries", toQueries, w.q, width, hidden),
        this.#timesTurned("of keys", toKeys, w.k, narrow, hidden),
      ),
      this.#timesTurned("of values", toValues, w.v, narrow, hidden),
    );
    this.#backNormed(inner.entering, w.attentionNorm, through, back);
  }

  /** Backwards through rotary positions. */
  #turnBack(rows: Float32Array, length: number, heads: number): void {
    const { runner, subject } = this.#exchange;
    const half = runner.model.sizes.headSize / 2;
    const cos = subject.pair.heap.view(runner.cos, length * half);
    const sin = subject.pair.heap.view(runner.sin, length * half);
    for (let at = 0; at < rows.length; at += 2 * half) {
      const wave = Math.floor(at / (2 * half * heads)) * half;
      for (let i = 0; i < half; i++) {
        const a = rows[at + i]!;
        const b = rows[at + half + i]!;
        rows[at + i] = a * cos[wave + i]! + b * sin[wave + i]!;
        rows[at + half + i] = b * cos[wave + i]! - a * sin[wave + i]!;
      }
    }
  }
}

/** Derivative of KL by the logits, of one row or of all. */
function klSlope(
  own: Float64Array,
  others: Float64Array,
  width: number,
  column: number | null,
): Float32Array {
  const made = new Float32Array(own.length);
  for (let row = 0; row < own.length / width; row++) {
    if (column !== null && row !== column) continue;
    let kl = 0;
    for (let i = row * width; i < (row + 1) * width; i++) {
      kl += Math.exp(own[i]!) * (own[i]! - others[i]!);
    }
    for (let i = row * width; i < (row + 1) * width; i++) {
      made[i] = Math.exp(own[i]!) * (own[i]! - others[i]! - kl);
    }
  }
  return made;
}

/** What comes back times how far two are apart. */
function apart(back: Float32Array, theirs: Float32Array, own: Float32Array): number {
  let total = 0;
  for (let i = 0; i < back.length; i++) total += back[i]! * (theirs[i]! - own[i]!);
  return total;
}

// Loops, since a function for each number leaves one behind in memory.

/** The same numbers, multiplied. */
function scale(values: Float32Array, by: number): Float32Array {
  for (let i = 0; i < values.length; i++) values[i]! *= by;
  return values;
}

/** The first numbers, with others added. */
function add(values: Float32Array, others: Float32Array): Float32Array {
  for (let i = 0; i < values.length; i++) values[i]! += others[i]!;
  return values;
}
