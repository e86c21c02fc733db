// One pass of a model over a text, and what is seen or changed on the way.

import type { Heap } from "./kernel.ts";
import { copyRow, type Model, padded } from "./model.ts";

/** Keys and values of every layer, then queries of the first; rotary positions applied. */
export interface Cache {
  readonly at: number;
  readonly count: number;
  readonly queries: number;
}

/**
 * Where a pass can be looked into, rows of positions each: the residual stream in front of a layer
 * (or behind the last), the patterns of all heads, what heads give before the output weights, what
 * attention adds, neurons after their gate, what the feed-forward layer adds.
 */
export type Stage = "residual" | "patterns" | "heads" | "attention" | "neurons" | "feedForward";

/** Told the numbers of a stage, which it may change; rows from position `first` on. */
export type Visit = (stage: Stage, layer: number, values: Float32Array, first: number) => void;

export interface Reading {
  /** Tokens that are read. */
  ids: readonly number[];
  /** First position that is computed; what is in front of it is in the cache. */
  from?: number;
  cache: Cache;
  /** Whether the cache has read the same tokens: the first layer's part in it stays as it is. */
  same?: boolean;
  /** Positions that no other looks at. */
  hidden?: readonly number[];
  visit?: Visit;
  /** Compute every position to the end, not only what the predictions need. */
  whole?: boolean;
  /** Other weights of the same shape, by default the model's own. */
  model?: Model;
  /** The residual stream in front of a layer, of all positions, to go on from. */
  stream?: { layer: number; values: Float32Array };
}

const LOWEST = -3.4028234663852886e38;
/** Rows of logits made at once. */
const LOGITS = 16;

/** Runs the models of one text of at most `room` tokens. */
export class Runner {
  readonly heap: Heap;
  readonly model: Model;
  /** A multiple of the number of keys that the kernel reads at once. */
  readonly room: number;
  readonly #x: number;
  readonly #normed: number;
  readonly #queries: number;
  readonly #keys: number;
  readonly #values: number;
  readonly #heads: number;
  readonly #gate: number;
  readonly #up: number;
  readonly #out: number;
  readonly #patterns: number;
  readonly #hidden: number;
  readonly #logits: number;
  /** Rotary tables [positions, size / 2]. */
  readonly cos: number;
  readonly sin: number;

  constructor(heap: Heap, model: Model, tokens: number) {
    const { heads, kvHeads, headSize, hidden, intermediate, vocabulary } = model.sizes;
    this.heap = heap;
    this.model = model;
    this.room = Math.ceil(tokens / 16) * 16;
    // A product may write up to four rows behind its last.
    const rows = (width: number) => heap.take((this.room + 4) * width);
    this.#x = rows(hidden);
    this.#normed = rows(hidden);
    this.#queries = rows(heads * headSize);
    this.#keys = rows(kvHeads * headSize);
    this.#values = rows(kvHeads * headSize);
    this.#heads = rows(heads * headSize);
    this.#gate = rows(intermediate);
    this.#up = rows(intermediate);
    this.#out = rows(hidden);
    this.#patterns = heap.take(heads * this.room * this.room);
    this.#hidden = heap.take(this.room);
    this.#logits = heap.take(LOGITS * padded(vocabulary));
    this.cos = rows(headSize / 2);
    this.sin = rows(headSize / 2);
    this.#waves();
  }

  #waves(): void {
    const { frequencies, wave } = this.model.sizes;
    const half = frequencies.length;
    const cos = this.heap.view(this.cos, this.room * half);
    const sin = this.heap.view(this.sin, this.room * half);
    for (let at = 0; at < this.room; at++) {
      for (let i = 0; i < half; i++) {
        // Rounded where torch rounds.
        const angle = Math.fround(at * Math.fround(frequencies[i]!));
        cos[at * half + i] = Math.cos(angle) * wave;
        sin[at * half + i] = Math.sin(angle) * wave;
      }
    }
  }

  cache(): Cache {
    const { layers, heads, kvHeads, headSize } = this.model.sizes;
    const cached = 2 * layers * kvHeads * headSize * this.room;
    const count = cached + heads * headSize * (this.room + 4);
    const at = this.heap.take(count);
    return { at, count, queries: at + cached * 4 };
  }

  copy(from: Cache, to: Cache): void {
    const all = this.heap.view(0, this.heap.kernel.memory.buffer.byteLength / 4);
    all.copyWithin(to.at / 4, from.at / 4, from.at / 4 + from.count);
  }

  /**
   * Read a text; then `logits` are there of the positions from `read` on, up to `end`.
   *
   * They are handed over row by row, and good until the next.
   */
  run(
    reading: Reading,
    read: number,
    end: number,
    logits: (position: number, row: Float32Array, logSumExp: number) => void,
  ): void {
    const { heap } = this;
    const { kernel } = heap;
    const model = reading.model ?? this.model;
    const { sizes } = model;
    const { hidden, intermediate, headSize, kvHeads, eps } = sizes;
    const { ids, cache, stream, visit } = reading;
    const width = sizes.heads * headSize;
    const first = stream ? 0 : (reading.from ?? 0);
    const rows = ids.length - first;
    const at = (base: number, of: number, skip: number) => base + skip * of * 4;
    const see = (stage: Stage, layer: number, base: number, of: number, skip: number) => {
      if (!visit) return;
      const place = at(base, of, skip);
      visit(stage, layer, heap.view(place, (rows - skip) * of), first + skip);
    };
    const bias = heap.view(this.#hidden, this.room).fill(0);
    for (const position of reading.hidden ?? []) bias[position] = LOWEST;
    if (stream) heap.view(this.#x, rows * hidden).set(stream.values.subarray(0, rows * hidden));
    else {
      const x = heap.view(this.#x, rows * hidden);
      for (let t = 0; t < rows; t++) {
        const to = x.subarray(t * hidden, (t + 1) * hidden);
        copyRow(heap, model.embedding, ids[first + t]!, hidden, to);
      }
    }
    const ofLayer = kvHeads * headSize * this.room * 4;
    const half = sizes.layers * ofLayer;
    for (let layer = stream?.layer ?? 0; layer < sizes.layers; layer++) {
      const w = model.layers[layer]!;
      const [keys, values] = [cache.at + layer * ofLayer, cache.at + half + layer * ofLayer];
      see("residual", layer, this.#x, hidden, 0);
      const known = layer === 0 && reading.same;
      if (!known) {
        kernel.rmsnorm(this.#x, w.attentionNorm, this.#normed, rows, hidden, eps);
        kernel.matmul(this.#normed, w.k, this.#keys, rows, hidden, kvHeads * headSize);
        kernel.matmul(this.#normed, w.v, this.#values, rows, hidden, kvHeads * headSize);
        kernel.rotate(this.#keys, this.cos, this.sin, first, rows, kvHeads, headSize);
        kernel.keep(
          ...([this.#keys, this.#values, keys, values] as const),
          ...([first, rows, kvHeads, headSize, this.room] as const),
        );
      }
      // Behind the last layer's keys and values only what is predicted from matters.
      const last = layer === sizes.layers - 1 && !reading.whole;
      const skip = last ? Math.max(0, read - first) : 0;
      const left = rows - skip;
      const x = at(this.#x, hidden, skip);
      const normed = at(this.#normed, hidden, skip);
      const queries = layer ? this.#queries : at(cache.queries, width, first + skip);
      if (!known) {
        kernel.matmul(normed, w.q, queries, left, hidden, width);
        kernel.rotate(queries, this.cos, this.sin, first + skip, left, sizes.heads, headSize);
      }
      const keep = visit ? this.room : 0;
      kernel.attention(
        ...([queries, keys, values, this.#hidden] as const),
        ...([this.#patterns, keep * left, keep, this.#heads] as const),
        ...([first + skip, left, sizes.heads, sizes.heads / kvHeads, headSize] as const),
        ...([this.room, 1 / Math.sqrt(headSize)] as const),
      );
      if (visit) {
        const patterns = heap.view(this.#patterns, sizes.heads * left * this.room);
        visit("patterns", layer, patterns, first + skip);
        visit("heads", layer, heap.view(this.#heads, left * width), first + skip);
      }
      kernel.matmul(this.#heads, w.o, this.#out, left, width, hidden);
      visit?.("attention", layer, heap.view(this.#out, left * hidden), first + skip);
      kernel.add(x, this.#out, left * hidden);
      kernel.rmsnorm(x, w.feedForwardNorm, normed, left, hidden, eps);
      kernel.matmul(normed, w.gate, this.#gate, left, hidden, intermediate);
      kernel.matmul(normed, w.up, this.#up, left, hidden, intermediate);
      kernel.silu(this.#gate, this.#up, left * intermediate);
      visit?.("neurons", layer, heap.view(this.#gate, left * intermediate), first + skip);
      kernel.matmul(this.#gate, w.down, this.#out, left, intermediate, hidden);
      visit?.("feedForward", layer, heap.view(this.#out, left * hidden), first + skip);
      kernel.add(x, this.#out, left * hidden);
    }
    see("residual", sizes.layers, this.#x, hidden, 0);
    const begin = Math.max(read, first);
    if (begin >= end) return;
    this.#unembed(model, at(this.#x, hidden, begin - first), end - begin, (row, scores, sum) =>
      logits(begin + row, scores, sum),
    );
  }

  /** Logits of some rows of the residual stream [rows, hidden], read by this model. */
  lens(stream: Float32Array, logits: (row: number, scores: Float32Array, sum: number) => void) {
    const { hidden } = this.model.sizes;
    const most = this.room;
    const rows = stream.length / hidden;
    for (let row = 0; row < rows; row += most) {
      const some = stream.subarray(row * hidden, (row + most) * hidden);
      this.heap.view(this.#x, some.length).set(some);
      this.#unembed(this.model, this.#x, some.length / hidden, (at, scores, sum) =>
        logits(row + at, scores, sum),
      );
    }
  }

  #unembed(
    { norm, unembedding }: Model,
    x: number,
    rows: number,
    logits: (row: number, scores: Float32Array, sum: number) => void,
  ): void {
    const { kernel } = this.heap;
    const { hidden, vocabulary, eps } = this.model.sizes;
    const width = padded(vocabulary);
    kernel.rmsnorm(x, norm, this.#normed, rows, hidden, eps);
    for (let row = 0; row < rows; row += LOGITS) {
      const some = Math.min(LOGITS, rows - row);
      const normed = this.#normed + row * hidden * 4;
      kernel.matmul(normed, unembedding, this.#logits, some, hidden, width);
      for (let i = 0; i < some; i++) {
        const place = this.#logits + i * width * 4;
        const sum = kernel.logSumExp(place, vocabulary);
        logits(row + i, this.heap.view(place, vocabulary), sum);
      }
    }
  }
}
