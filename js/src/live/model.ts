// A model as the kernel reads it.

import { halfToNumber } from "../contract/decode.ts";
import type { Heap } from "./kernel.ts";

/** Sizes of both models of a pair, and what else a pass has to know. */
export interface Sizes {
  layers: number;
  heads: number;
  kvHeads: number;
  headSize: number;
  hidden: number;
  intermediate: number;
  vocabulary: number;
  /** Longest text. */
  positions: number;
  eps: number;
  /** Rotary frequencies, one for each pair of numbers of a head; and what their waves are times. */
  frequencies: number[];
  wave: number;
  tied: boolean;
}

interface Layer {
  attentionNorm: number;
  q: number;
  k: number;
  v: number;
  o: number;
  feedForwardNorm: number;
  gate: number;
  up: number;
  down: number;
}

export interface Model {
  readonly sizes: Sizes;
  readonly embedding: number;
  readonly layers: readonly Layer[];
  readonly norm: number;
  readonly unembedding: number;
}

/** Columns of a product are made eight at a time. */
export const PANEL = 8;
export const padded = (columns: number) => Math.ceil(columns / PANEL) * PANEL;

/**
 * Put a model into memory: half-precision numbers, first all low bytes, then all high ones.
 *
 * They are the embedding, of each layer the norm, query, key, value and output weights, the other
 * norm, gate, up and down weights, the final norm, and an unembedding of its own.
 */
export function load(heap: Heap, bytes: Uint8Array, sizes: Sizes): Model {
  const { heads, kvHeads, headSize, hidden, intermediate, vocabulary } = sizes;
  const count = bytes.length / 2;
  let read = 0;
  const next = () => {
    const half = bytes[read]! | (bytes[count + read]! << 8);
    read++;
    return HALVES[half]!;
  };
  const vector = (length: number) => {
    const at = heap.take(length);
    const values = heap.view(at, length);
    for (let i = 0; i < length; i++) values[i] = next();
    return at;
  };
  const matrix = (rows: number, columns: number) => {
    const at = heap.take(padded(rows) * columns);
    const values = heap.view(at, padded(rows) * columns);
    values.fill(0, rows * columns - (rows % PANEL) * columns);
    for (let row = 0; row < rows; row++) {
      const to = (row - (row % PANEL)) * columns + (row % PANEL);
      for (let i = 0; i < columns; i++) values[to + i * PANEL] = next();
    }
    return at;
  };
  const embedding = matrix(vocabulary, hidden);
  const layers = Array.from({ length: sizes.layers }, () => ({
    attentionNorm: vector(hidden),
    q: matrix(heads * headSize, hidden),
    k: matrix(kvHeads * headSize, hidden),
    v: matrix(kvHeads * headSize, hidden),
    o: matrix(hidden, heads * headSize),
    feedForwardNorm: vector(hidden),
    gate: matrix(intermediate, hidden),
    up: matrix(intermediate, hidden),
    down: matrix(hidden, intermediate),
  }));
  const norm = vector(hidden);
  const unembedding = sizes.tied ? embedding : matrix(vocabulary, hidden);
  return { sizes, embedding, layers, norm, unembedding };
}

/** Row of a matrix in panels, such as the embedding of a token. */
export function copyRow(
  heap: Heap,
  matrix: number,
  row: number,
  columns: number,
  to: Float32Array,
): void {
  const first = (row - (row % PANEL)) * columns;
  const panel = heap.view(matrix + first * 4, PANEL * columns);
  for (let i = 0; i < columns; i++) to[i] = panel[i * PANEL + (row % PANEL)]!;
}

/** A matrix [rows, columns] out of its panels. */
export function denseOf(heap: Heap, matrix: number, rows: number, columns: number): Float32Array {
  const dense = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    copyRow(heap, matrix, row, columns, dense.subarray(row * columns, (row + 1) * columns));
  }
  return dense;
}

/** Every half-precision number by its 16 bits. */
const HALVES = Float32Array.from({ length: 65_536 }, (_, bits) => halfToNumber(bits));
