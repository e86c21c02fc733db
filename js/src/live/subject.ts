// Two models, what they read, and what one pass of each has left.

import { type BySide, type Manifest, SIDES, type Side } from "../contract/contract.ts";
import type { Value } from "../contract/decode.ts";
import type { Heap } from "./kernel.ts";
import type { Answered } from "./messages.ts";
import type { Model } from "./model.ts";
import { type Cache, Runner, type Visit } from "./pass.ts";

/** Both models in memory, and what is known of them without a prompt. */
export interface Pair {
  heap: Heap;
  models: BySide<Model>;
  /** Every token for display, and as a word; "" is none. */
  pieces: readonly string[];
  words: readonly string[];
  /** What signs of each weight are drawn from, in the order of `shapesOf`. */
  draws: readonly number[];
  /** Tokens in front of every text that has no template. */
  front: readonly number[];
  /** Tokens of some lines of prose. */
  otherText: readonly number[];
  /** What follows from the weights alone, by name. */
  known(key: string): Value;
}

/** What one model did with its text of T tokens; rows of positions, layer by layer. */
export interface Capture {
  /** In front of each layer, and behind the last: [T, hidden]. */
  residual: Float32Array[];
  /** Lower triangles of all heads, row by row. */
  patterns: Float32Array[];
  /** Before the output weights: [T, heads * size]. */
  heads: Float32Array[];
  attention: Float32Array[];
  feedForward: Float32Array[];
  /** [T, intermediate]. */
  neurons: Float32Array[];
  /** Log-probabilities where the answer tokens are predicted, [M, vocabulary]. */
  logprobs: Float32Array;
  cache: Cache;
}

export const other = (side: Side): Side => SIDES[1 - SIDES.indexOf(side)]!;

/** A prompt, the answers that are read, and both models' passes over them, made when asked for. */
export class Subject {
  readonly pair: Pair;
  readonly manifest: Manifest;
  readonly promptLength: number;
  /** Tokens that each side reads: prompt and answer. */
  readonly ids: BySide<number[]>;
  /** What each model answers by itself, once that is known. */
  readonly own: Partial<BySide<Answered>> = {};
  #found = new Map<string, unknown>();
  #runners: Partial<BySide<Runner>> = {};
  #captures: Partial<BySide<Capture>> = {};

  constructor(pair: Pair, manifest: Manifest) {
    this.pair = pair;
    this.manifest = manifest;
    this.promptLength = manifest.prompt_tokens.length;
    const ids = (side: Side) =>
      [...manifest.prompt_tokens, ...manifest.answers[side].tokens].map(({ id }) => id);
    this.ids = { base: ids("base"), tuned: ids("tuned") };
  }

  answer(side: Side): number[] {
    return this.ids[side].slice(this.promptLength);
  }

  /** M. */
  answerLength(side: Side): number {
    return this.ids[side].length - this.promptLength;
  }

  /** T. */
  length(side: Side): number {
    return this.ids[side].length;
  }

  get common(): number {
    return this.manifest.shared ? this.length("base") : this.promptLength;
  }

  runner(side: Side): Runner {
    const { heap, models } = this.pair;
    this.#runners[side] ??= new Runner(
      heap,
      models[side],
      this.#longest,
      this.#runners[other(side)],
    );
    return this.#runners[side];
  }

  get #longest(): number {
    const own = Number(this.manifest.parameters.max_new_tokens) || 0;
    const room = Math.max(...SIDES.map((side) => this.length(side)), this.promptLength + own);
    return Math.min(room, this.pair.models.base.sizes.positions);
  }

  capture(side: Side): Capture {
    this.#captures[side] ??= captured(this.runner(side), this.ids[side], this.promptLength);
    return this.#captures[side];
  }

  /** Made when it is first asked for, and kept while the prompt is. */
  once<T>(name: string, make: () => T): T {
    if (!this.#found.has(name)) this.#found.set(name, make());
    return this.#found.get(name) as T;
  }

  answered(side: Side, { ids, stopped }: Answered): void {
    this.own[side] = { ids, stopped };
  }

  positions(...segments: string[]): number[] {
    return this.manifest.prompt_tokens.flatMap(({ segment }, i) =>
      segments.includes(segment) ? [i] : [],
    );
  }
}

function captured(runner: Runner, ids: readonly number[], promptLength: number): Capture {
  const { sizes } = runner.model;
  const length = ids.length;
  const answer = length - promptLength;
  const made: Capture = {
    residual: [],
    patterns: [],
    heads: [],
    attention: [],
    feedForward: [],
    neurons: [],
    logprobs: new Float32Array(answer * sizes.vocabulary),
    cache: runner.cache(),
  };
  const visit: Visit = (stage, _, values) => {
    made[stage].push(stage === "patterns" ? packed(values, sizes.heads, length) : values.slice());
  };
  const { cache } = made;
  // Every position, the last one too: panels show what is inside there.
  runner.run(
    { ids, cache, visit, whole: true },
    promptLength - 1,
    length - 1,
    (at, scores, sum) => {
      const row = (at - promptLength + 1) * sizes.vocabulary;
      for (let i = 0; i < scores.length; i++) made.logprobs[row + i] = scores[i]! - sum;
    },
  );
  return made;
}

/** Lower triangles of square patterns [heads, T, room]. */
function packed(values: Float32Array, heads: number, length: number): Float32Array {
  const room = values.length / heads / length;
  const triangle = (length * (length + 1)) / 2;
  const made = new Float32Array(heads * triangle);
  for (let head = 0; head < heads; head++) {
    let to = head * triangle;
    for (let row = 0; row < length; row++) {
      const from = (head * length + row) * room;
      made.set(values.subarray(from, from + row + 1), to);
      to += row + 1;
    }
  }
  return made;
}

/** Where a row begins in the triangles of all heads. */
export function rowStart(length: number, head: number, at: number): number {
  return (head * length * (length + 1) + at * (at + 1)) / 2;
}

/** What one position attends to: itself and all before it. */
export function attentionRow(
  subject: Subject,
  side: Side,
  layer: number,
  head: number,
  at: number,
): Float32Array {
  const from = rowStart(subject.length(side), head, at);
  return subject.capture(side).patterns[layer]!.subarray(from, from + at + 1);
}
