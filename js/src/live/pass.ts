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
  /** What the same tokens left, read as they are: `cache` is filled from it, layer by layer. */
  like?: Cache;
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
const LOGITS = 96;
/** Rows of short texts that are read together: each weight is fetched once for all of them. */
const TOGETHER = 384;

/** Where rows of one text lie among those that are read together. */
interface Part {
  reading: Reading;
  /** Position of its first row. */
  first: number;
  rows: number;
  /** Rows in front of it. */
  place: number;
}

/** Where what a pass computes lies, row by row. */
type Scratch = Readonly<
  Record<
    | ("x" | "normed" | "queries" | "keys" | "values" | "heads" | "gate" | "up" | "out")
    | ("patterns" | "hidden" | "logits"),
    number
  >
>;

/** Runs the models of one text of at most `room` tokens. */
export class Runner {
  readonly heap: Heap;
  readonly model: Model;
  /** A multiple of the number of keys that lie side by side. */
  readonly room: number;
  /** Most rows that are read together. */
  readonly most: number;
  readonly #at: Scratch;
  /** Rotary tables [positions, size / 2]. */
  readonly cos: number;
  readonly sin: number;

  /** `beside` is another of the same heap and sizes: they share their memory, as passes take turns. */
  constructor(heap: Heap, model: Model, tokens: number, beside?: Runner) {
    const { heads, kvHeads, headSize, hidden, intermediate, vocabulary } = model.sizes;
    this.heap = heap;
    this.model = model;
    this.room = Math.ceil(tokens / 16) * 16;
    this.most = Math.max(this.room, TOGETHER);
    if (beside?.room === this.room) {
      this.#at = beside.#at;
      this.cos = beside.cos;
      this.sin = beside.sin;
      return;
    }
    // A product may write up to four rows behind its last.
    const rows = (width: number) => heap.take((this.most + 4) * width);
    this.#at = {
      x: rows(hidden),
      normed: rows(hidden),
      queries: rows(heads * headSize),
      keys: rows(kvHeads * headSize),
      values: rows(kvHeads * headSize),
      heads: rows(heads * headSize),
      gate: rows(intermediate),
      up: rows(intermediate),
      out: rows(hidden),
      patterns: heap.take((heads * this.room + 4) * this.room),
      hidden: heap.take(this.room),
      logits: heap.take(LOGITS * padded(vocabulary)),
    };
    this.cos = heap.take((this.room * headSize) / 2);
    this.sin = heap.take((this.room * headSize) / 2);
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

  #copy(from: number, to: number, count: number): void {
    const all = this.heap.view(0, this.heap.kernel.memory.buffer.byteLength / 4);
    all.copyWithin(to / 4, from / 4, from / 4 + count);
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
    this.#read([reading], read, end, (_, position, row, sum) => logits(position, row, sum));
  }

  /** Read one text several times, up to `most` rows together; all may fill the same cache. */
  again(
    readings: readonly (Pick<Reading, "ids" | "from" | "cache" | "hidden"> & { like: Cache })[],
    read: number,
    end: number,
    logits: (which: number, position: number, row: Float32Array, logSumExp: number) => void,
  ): void {
    this.#read(readings, read, end, logits);
  }

  #read(
    readings: readonly Reading[],
    read: number,
    end: number,
    logits: (which: number, position: number, row: Float32Array, logSumExp: number) => void,
  ): void {
    const { heap } = this;
    const { kernel } = heap;
    // Several have none of these.
    const { stream, visit, whole, model = this.model } = readings[0]!;
    const { sizes } = model;
    const { hidden, intermediate, headSize, kvHeads, eps } = sizes;
    const [width, kvWidth] = [sizes.heads * headSize, kvHeads * headSize];
    const at = (base: number, columns: number, skip: number) => base + skip * columns * 4;
    let rows = 0;
    const parts = readings.map((reading): Part => {
      const first = stream ? 0 : (reading.from ?? 0);
      const part = { reading, first, rows: reading.ids.length - first, place: rows };
      rows += part.rows;
      return part;
    });
    const [length, before] = [rows, parts[0]!.first];
    let x = this.#at.x;
    const stage = (name: Stage, layer: number, base: number, columns: number) => {
      const [{ first, rows }] = parts as [Part];
      visit?.(name, layer, heap.view(base, rows * columns), first);
    };
    if (stream) heap.view(x, rows * hidden).set(stream.values.subarray(0, rows * hidden));
    else {
      const to = heap.view(x, rows * hidden);
      for (const { reading, first, rows, place } of parts) {
        for (let t = 0; t < rows; t++) {
          const row = to.subarray((place + t) * hidden, (place + t + 1) * hidden);
          copyRow(heap, model.embedding, reading.ids[first + t]!, hidden, row);
        }
      }
    }
    const ofLayer = kvWidth * this.room;
    const half = sizes.layers * ofLayer;
    for (let layer = stream?.layer ?? 0; layer < sizes.layers; layer++) {
      const w = model.layers[layer]!;
      stage("residual", layer, x, hidden);
      // The first layer reads tokens alone.
      const known = layer === 0 && parts.every(({ reading }) => reading.like);
      let normed = this.#at.normed;
      if (!known) {
        kernel.rmsnorm(x, w.attentionNorm, normed, rows, hidden, eps);
        kernel.matmul(normed, w.k, this.#at.keys, rows, hidden, kvWidth);
        kernel.matmul(normed, w.v, this.#at.values, rows, hidden, kvWidth);
      }
      const whence = parts.map((part) => ({ ...part }));
      if (layer === sizes.layers - 1 && !whole) {
        // Behind the last layer's keys and values only what is predicted from matters.
        const skips = parts.map(({ first }) => Math.max(0, read - first));
        rows = 0;
        for (const [i, part] of parts.entries()) {
          const from = part.place + skips[i]!;
          part.first += skips[i]!;
          part.rows -= skips[i]!;
          part.place = rows;
          rows += part.rows;
          const to = part.place + skips[0]!;
          for (const base of [x, normed]) {
            if (from !== to)
              this.#copy(at(base, hidden, from), at(base, hidden, to), part.rows * hidden);
          }
        }
        x = at(x, hidden, skips[0]!);
        normed = at(normed, hidden, skips[0]!);
      }
      const queries = ({ reading, first, place }: Part) =>
        layer
          ? at(this.#at.queries, width, place)
          : at((reading.like ?? reading.cache).queries, width, first);
      if (!known) kernel.matmul(normed, w.q, queries(parts[0]!), rows, hidden, width);
      for (const [i, part] of parts.entries()) {
        const { reading, first, rows, place } = part;
        const all = whence[i]!;
        const [keys, values] = [0, half].map((skip) =>
          at(reading.cache.at, 1, skip + layer * ofLayer),
        ) as [number, number];
        if (reading.like) {
          for (const skip of [0, half]) {
            const from = at(reading.like.at, 1, skip + layer * ofLayer);
            this.#copy(from, skip ? values : keys, ofLayer);
          }
        }
        if (!known) {
          const made = [
            at(this.#at.keys, kvWidth, all.place),
            at(this.#at.values, kvWidth, all.place),
          ];
          const [k, v] = made as [number, number];
          kernel.rotate(k, this.cos, this.sin, all.first, all.rows, kvHeads, headSize);
          kernel.keep(k, v, keys, values, all.first, all.rows, kvHeads, headSize, this.room);
          kernel.rotate(queries(part), this.cos, this.sin, first, rows, sizes.heads, headSize);
        }
        const bias = heap.view(this.#at.hidden, this.room).fill(0);
        for (const position of reading.hidden ?? []) bias[position] = LOWEST;
        kernel.attention(
          ...([queries(part), keys, values, this.#at.hidden, this.#at.patterns] as const),
          ...([visit !== undefined, at(this.#at.heads, width, place), first, rows] as const),
          ...([sizes.heads, sizes.heads / kvHeads, headSize, this.room] as const),
          1 / Math.sqrt(headSize),
        );
      }
      stage("patterns", layer, this.#at.patterns, sizes.heads * this.room);
      stage("heads", layer, this.#at.heads, width);
      kernel.matmul(this.#at.heads, w.o, this.#at.out, rows, width, hidden);
      stage("attention", layer, this.#at.out, hidden);
      kernel.add(x, this.#at.out, rows * hidden);
      kernel.rmsnorm(x, w.feedForwardNorm, normed, rows, hidden, eps);
      kernel.matmul(normed, w.gate, this.#at.gate, rows, hidden, intermediate);
      kernel.matmul(normed, w.up, this.#at.up, rows, hidden, intermediate);
      kernel.silu(this.#at.gate, this.#at.up, rows * intermediate);
      stage("neurons", layer, this.#at.gate, intermediate);
      kernel.matmul(this.#at.gate, w.down, this.#at.out, rows, intermediate, hidden);
      stage("feedForward", layer, this.#at.out, hidden);
      kernel.add(x, this.#at.out, rows * hidden);
    }
    visit?.("residual", sizes.layers, heap.view(this.#at.x, length * hidden), before);
    // Of several texts only what is predicted from is left, one behind the other.
    const asked = parts.flatMap(({ first, rows }, which) => {
      const begin = Math.max(read, first);
      const count = Math.max(0, Math.min(end, first + rows) - begin);
      return Array.from({ length: count }, (_, i) => ({ which, position: begin + i }));
    });
    const skipped = Math.max(0, read - parts[0]!.first);
    this.#unembed(model, at(x, hidden, skipped), asked.length, (row, scores, sum) => {
      const { which, position } = asked[row]!;
      logits(which, position, scores, sum);
    });
  }

  /** Logits of some rows of the residual stream [rows, hidden], read by this model. */
  lens(stream: Float32Array, logits: (row: number, scores: Float32Array, sum: number) => void) {
    const { hidden } = this.model.sizes;
    const most = this.room;
    const rows = stream.length / hidden;
    for (let row = 0; row < rows; row += most) {
      const some = stream.subarray(row * hidden, (row + most) * hidden);
      this.heap.view(this.#at.x, some.length).set(some);
      this.#unembed(this.model, this.#at.x, some.length / hidden, (at, scores, sum) =>
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
    kernel.rmsnorm(x, norm, this.#at.normed, rows, hidden, eps);
    for (let row = 0; row < rows; row += LOGITS) {
      const some = Math.min(LOGITS, rows - row);
      const normed = this.#at.normed + row * hidden * 4;
      kernel.matmul(normed, unembedding, this.#at.logits, some, hidden, width);
      for (let i = 0; i < some; i++) {
        const place = this.#at.logits + i * width * 4;
        const sum = kernel.logSumExp(place, vocabulary);
        logits(row + i, this.heap.view(place, vocabulary), sum);
      }
    }
  }
}
