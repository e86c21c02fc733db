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
  /** Whether much is tried. */
  small: boolean;
}

/** Weights of a layer, in their order: of its attention block, then of its feed-forward block. */
export const ATTENTION = ["attentionNorm", "q", "k", "v", "o"] as const;
export const FEED_FORWARD = ["feedForwardNorm", "gate", "up", "down"] as const;
const LAYER = [...ATTENTION, ...FEED_FORWARD];
type Layer = Record<(typeof LAYER)[number], number>;

export interface Model {
  readonly sizes: Sizes;
  readonly embedding: number;
  readonly layers: readonly Layer[];
  readonly norm: number;
  readonly unembedding: number;
  /** Where all weights lie, in the order of `shapesOf`. */
  readonly places: readonly number[];
}

/** Columns of a product are made eight at a time. */
export const PANEL = 8;
export const padded = (columns: number) => Math.ceil(columns / PANEL) * PANEL;

export interface Shape {
  rows: number;
  /** 1 where it is a vector. */
  columns: number;
  /** Rows that lie side by side. */
  panel: number;
}

/**
 * Shapes of all weights: the embedding, of each layer the norm, query, key, value and output
 * weights, the other norm, gate, up and down weights, the final norm, an unembedding of its own.
 */
export function shapesOf(sizes: Sizes): Shape[] {
  const { heads, kvHeads, headSize, hidden, intermediate, vocabulary } = sizes;
  const matrix = (rows: number, columns: number) => ({ rows, columns, panel: PANEL });
  const norm = { rows: hidden, columns: 1, panel: 1 };
  const layer = [
    norm,
    matrix(heads * headSize, hidden),
    matrix(kvHeads * headSize, hidden),
    matrix(kvHeads * headSize, hidden),
    matrix(hidden, heads * headSize),
    norm,
    matrix(intermediate, hidden),
    matrix(intermediate, hidden),
    matrix(hidden, intermediate),
  ];
  const words = matrix(vocabulary, hidden);
  const layers = Array.from({ length: sizes.layers }, () => layer).flat();
  return [words, ...layers, norm, ...(sizes.tied ? [] : [words])];
}

/** A model whose weights lie where it is said. */
export function modelOf(sizes: Sizes, places: readonly number[]): Model {
  let read = 0;
  const next = () => places[read++]!;
  const embedding = next();
  const layer = () => Object.fromEntries(LAYER.map((name) => [name, next()])) as Layer;
  const layers = Array.from({ length: sizes.layers }, layer);
  const norm = next();
  const unembedding = sizes.tied ? embedding : next();
  return { sizes, embedding, layers, norm, unembedding, places };
}

/** Room for the weights of a model; what lies there is anything. */
export function roomFor(heap: Heap, sizes: Sizes): Model {
  const places = shapesOf(sizes).map(({ rows, columns, panel }) =>
    heap.take(panel > 1 ? padded(rows) * columns : rows),
  );
  return modelOf(sizes, places);
}

/** Put a model into memory: half-precision numbers, first all low bytes, then all high ones. */
export function load(heap: Heap, bytes: Uint8Array, sizes: Sizes): Model {
  const model = roomFor(heap, sizes);
  const count = bytes.length / 2;
  let read = 0;
  for (const [i, { rows, columns, panel }] of shapesOf(sizes).entries()) {
    const values = heap.view(model.places[i]!, panel > 1 ? padded(rows) * columns : rows);
    if (panel > 1) values.fill(0, rows * columns - (rows % panel) * columns);
    for (let row = 0; row < rows; row++) {
      const to = (row - (row % panel)) * columns + (row % panel);
      for (let column = 0; column < columns; column++, read++) {
        values[to + column * panel] = HALVES[bytes[read]! | (bytes[count + read]! << 8)]!;
      }
    }
  }
  return model;
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

/** The same matrix on its side, in panels of its own. */
export function transpose(
  heap: Heap,
  matrix: number,
  rows: number,
  columns: number,
  at: number,
): void {
  const [from, to] = [
    heap.view(matrix, padded(rows) * columns),
    heap.view(at, padded(columns) * rows),
  ];
  for (let row = 0; row < rows; row++) {
    const first = (row - (row % PANEL)) * columns + (row % PANEL);
    for (let i = 0; i < columns; i++) {
      to[(i - (i % PANEL)) * rows + row * PANEL + (i % PANEL)] = from[first + i * PANEL]!;
    }
  }
}

/** Every half-precision number by its 16 bits. */
const HALVES = Float32Array.from({ length: 65_536 }, (_, bits) => halfToNumber(bits));
