// Parts of one model exchanged for what the other computes when it reads the same tokens.

import type { Side } from "../contract/contract.ts";
import { ATTENTION, FEED_FORWARD, type Model, modelOf } from "./model.ts";
import type { Cache, Runner, Stage } from "./pass.ts";
import { divergences, logprobs } from "./predictions.ts";
import { type Capture, other, type Subject } from "./subject.ts";

export type PartKind = "embedding" | "head" | "attention" | "feed_forward" | "unembedding";

/** One part, or one block; -1 where it has no layer or is no head. */
export interface Place {
  kind: PartKind;
  layer: number;
  head: number;
}

/** What an answer is predicted with once something is exchanged, for each of its tokens. */
export interface Left {
  /** Log-probability. */
  nats: Float64Array;
  /** KL to what the donor predicts. */
  kl: Float64Array;
}

/** Parts in the order of their gates: embedding, heads, feed-forward blocks, unembedding. */
export class Layout {
  readonly layers: number;
  readonly heads: number;

  constructor({ layers, heads }: { layers: number; heads: number }) {
    this.layers = layers;
    this.heads = heads;
  }

  get count(): number {
    return this.layers * (this.heads + 1) + 2;
  }

  head(layer: number, head = 0): number {
    return 1 + layer * this.heads + head;
  }

  feedForward(layer: number): number {
    return 1 + this.layers * this.heads + layer;
  }

  get unembedding(): number {
    return this.count - 1;
  }

  /** Layer at which a pass begins to differ where a part is exchanged. */
  first(places: readonly number[]): number {
    return Math.min(this.layers, ...places.map((place) => this.layerOf(this.part(place))));
  }

  layerOf({ kind, layer }: Place): number {
    return kind === "unembedding" ? this.layers : Math.max(layer, 0);
  }

  part(place: number): Place {
    if (place === 0) return { kind: "embedding", layer: -1, head: -1 };
    if (place === this.unembedding) return { kind: "unembedding", layer: -1, head: -1 };
    const behind = place - this.feedForward(0);
    if (behind >= 0) return { kind: "feed_forward", layer: behind, head: -1 };
    const [layer, head] = [Math.floor((place - 1) / this.heads), (place - 1) % this.heads];
    return { kind: "head", layer, head };
  }

  /** Whole blocks in the order in which they are computed, and their places. */
  blocks(): [Place, number[]][] {
    const listed: [Place, number[]][] = [[this.part(0), [0]]];
    for (let layer = 0; layer < this.layers; layer++) {
      const heads = Array.from({ length: this.heads }, (_, head) => this.head(layer, head));
      listed.push([{ kind: "attention", layer, head: -1 }, heads]);
      listed.push([{ kind: "feed_forward", layer, head: -1 }, [this.feedForward(layer)]]);
    }
    return [...listed, [this.part(this.unembedding), [this.unembedding]]];
  }
}

/** What of a pass is not as it is in the model itself. */
export interface Changed {
  /** Places of parts that are exchanged. */
  places?: readonly number[];
  model?: Model;
  /** First layer that differs, and the residual stream in front of it, by default the model's own. */
  first?: number;
  stream?: Float32Array;
  /** Told what a stage holds once parts are exchanged. */
  visit?: (stage: Stage, layer: number, values: Float32Array, first: number) => void;
}

/** A reading of one model, into which parts of the other are put: everywhere, or at one position. */
export class Exchange {
  readonly subject: Subject;
  readonly into: Side;
  readonly layout: Layout;
  readonly runner: Runner;
  readonly own: Capture;
  readonly theirs: Capture;
  readonly donor: Model;
  readonly donorLogprobs: Float64Array;
  readonly at: number | null;
  readonly #cache: Cache;
  readonly #heads: number;
  readonly #added: number;
  /** Logits of a pass and what follows from them, [M, vocabulary]; used again by the next. */
  readonly #rows: Float32Array;
  readonly #predicted: Float64Array;

  constructor(subject: Subject, into: Side, at: number | null = null) {
    const { hidden, heads, headSize, vocabulary } = subject.pair.models[into].sizes;
    this.subject = subject;
    this.into = into;
    this.at = at;
    this.layout = new Layout(subject.pair.models[into].sizes);
    this.runner = subject.runner(into);
    this.own = subject.capture(into);
    this.theirs = subject.capture(other(into));
    this.donor = subject.pair.models[other(into)];
    this.donorLogprobs = subject.once(`exchange/${into}/logprobs`, () =>
      logprobs(this.theirs.logprobs, vocabulary),
    );
    const predictions = subject.answerLength(into) * vocabulary;
    this.#rows = subject.once(`exchange/${into}/rows`, () => new Float32Array(predictions));
    this.#predicted = subject.once(
      `exchange/${into}/predicted`,
      () => new Float64Array(predictions),
    );
    const { heap } = subject.pair;
    const room = this.runner.room + 4;
    this.#cache = subject.once(`exchange/${into}/cache`, () => this.runner.cache());
    this.#heads = subject.once(`exchange/${into}/heads`, () => heap.take(room * heads * headSize));
    this.#added = subject.once(`exchange/${into}/added`, () => heap.take(room * hidden));
  }

  /** Put something in the place of rows of numbers, or of that of one position. */
  put(values: Float32Array, theirs: Float32Array, width: number, first: number): void {
    const { at } = this;
    if (at === null) values.set(theirs.subarray(first * width, first * width + values.length));
    else if (at >= first) {
      values.set(theirs.subarray(at * width, (at + 1) * width), (at - first) * width);
    }
  }

  /** Predictions with some parts exchanged. */
  pass(changed: Changed): Left {
    const { subject, layout, runner, donor, theirs } = this;
    const { places = [], visit, model } = changed;
    const { sizes } = runner.model;
    const { heap } = subject.pair;
    const { hidden, headSize, vocabulary } = sizes;
    const width = sizes.heads * headSize;
    const open = new Set(places);
    const ids = subject.ids[this.into].slice(0, -1);
    const [n, m] = [subject.promptLength, subject.answerLength(this.into)];
    const first = changed.first ?? layout.first(places);
    // From the tokens on, if there is nothing in front.
    const stream = changed.stream ?? (first ? this.own.residual[first]! : null);
    const headsOf = (layer: number) =>
      Array.from({ length: sizes.heads }, (_, head) => head).filter((head) =>
        open.has(layout.head(layer, head)),
      );
    let final = new Float32Array();
    const rows = this.#rows;
    const reading = {
      ids,
      cache: this.#cache,
      ...(stream && { stream: { layer: first, values: stream } }),
      ...(model && { model }),
      visit: (stage: Stage, layer: number, values: Float32Array, from: number) => {
        if (stage === "residual") {
          if (layer === 0 && open.has(0)) this.put(values, theirs.residual[0]!, hidden, from);
          if (layer === sizes.layers && open.has(layout.unembedding)) {
            final = values.slice((n - 1) * hidden, (n - 1 + m) * hidden);
          }
        }
        const heads = stage === "heads" || stage === "attention" ? headsOf(layer) : [];
        if (stage === "heads" && heads.length) {
          // Theirs go through the donor's output weights, and the model's own are gone.
          const given = heap.view(this.#heads, values.length).fill(0);
          for (let t = 0; t * width < values.length; t++) {
            if (this.at !== null && this.at !== from + t) continue;
            for (const head of heads) {
              const to = t * width + head * headSize;
              const at = (from + t) * width + head * headSize;
              given.set(theirs.heads[layer]!.subarray(at, at + headSize), to);
              values.fill(0, to, to + headSize);
            }
          }
        }
        if (stage === "attention" && heads.length) {
          const some = values.length / hidden;
          heap.kernel.matmul(
            ...([this.#heads, donor.layers[layer]!.o, this.#added, some, width, hidden] as const),
          );
          const added = heap.view(this.#added, values.length);
          for (let i = 0; i < values.length; i++) values[i]! += added[i]!;
        }
        if (stage === "feedForward" && open.has(layout.feedForward(layer))) {
          this.put(values, theirs.feedForward[layer]!, hidden, from);
        }
        visit?.(stage, layer, values, from);
      },
    };
    runner.run(reading, n - 1, n - 1 + m, (at, scores) =>
      rows.set(scores, (at - n + 1) * vocabulary),
    );
    if (final.length) {
      subject.runner(other(this.into)).lens(final, (row, scores) => {
        if (this.at === null || this.at === n - 1 + row) rows.set(scores, row * vocabulary);
      });
    }
    const predicted = logprobs(rows, vocabulary, this.#predicted);
    return {
      nats: Float64Array.from(
        subject.answer(this.into),
        (id, m) => predicted[m * vocabulary + id]!,
      ),
      kl: Float64Array.from(divergences(predicted, this.donorLogprobs, vocabulary)),
    };
  }

  /** The model with the weights of one block of the donor's, the norm in front of it among them. */
  withWeights({ kind, layer }: Place): Model {
    const { places, sizes } = this.runner.model;
    const each = ATTENTION.length + FEED_FORWARD.length;
    const theirs = (i: number) => {
      if (i === 0) return kind === "embedding";
      const [block, inside] = [Math.floor((i - 1) / each), (i - 1) % each];
      if (block >= sizes.layers) return kind === "unembedding";
      return block === layer && kind === (inside < ATTENTION.length ? "attention" : "feed_forward");
    };
    const mixed = places.map((at, i) => (theirs(i) ? this.donor.places[i]! : at));
    return modelOf(sizes, mixed);
  }
}
