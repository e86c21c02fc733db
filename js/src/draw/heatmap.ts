// Matrices on canvas at device pixel ratio.

import type { Numbers } from "../maths/numbers.ts";
import type { Part } from "../maths/zoom.ts";
import { type Drawing, paint } from "./painted.ts";
import { css, type Rgb, rgb } from "./scales.ts";

export interface Cells {
  rows: number;
  columns: number;
  /** Negative ones are drawn as rings, so that the sign is not a matter of hue alone. */
  values: Numbers;
  /** The value drawn in full colour. */
  max: number;
  width: number;
  height: number;
  gap: number;
  colour: (share: number) => Rgb;
  /** Colour of what is not known: NaN. */
  absent: Rgb;
  /** Estimates are hatched where there is room. */
  hatched(index: number): boolean;
  /** Cells with a dot in the corner, drawn in `ink`. */
  dotted(index: number): boolean;
  ink: string;
}

/** Narrower cells are not hatched; those of maps have no hole where they are negative. */
const HATCHED = 7;
const HOLLOW = 4.5;

/** Up to some thousand cells, with gaps where they are large: layers by heads. `marks` on top. */
export function drawCells(
  canvas: HTMLCanvasElement,
  cells: Cells,
  marks?: (drawing: Drawing) => void,
): void {
  const look = lookOf(cells);
  const before = PAINTED.get(canvas);
  const ratio = globalThis.devicePixelRatio;
  if (!marks && before?.ratio === ratio && alike(before.look, look)) return;
  PAINTED.set(canvas, { look, ratio });
  paint(canvas, cells.columns * cells.width, cells.rows * cells.height, (drawing) => {
    paintCells(drawing, cells);
    marks?.(drawing);
  });
}

/** What the picture depends on, as numbers. */
function lookOf(cells: Cells): Float64Array {
  const { rows, columns, values, max, width, height, gap, colour, absent, ink } = cells;
  const size = rows * columns;
  const colours = [colour(-1), colour(0), colour(1), absent, rgb(ink)].flat();
  const look = new Float64Array(6 + colours.length + 2 * size);
  look.set([rows, columns, max, width, height, gap, ...colours]);
  for (let i = 0; i < size; i++) {
    look[look.length - 1 - i] = values[i]!;
    look[look.length - 1 - size - i] = Number(cells.hatched(i)) + 2 * Number(cells.dotted(i));
  }
  return look;
}

function alike(first: Float64Array, second: Float64Array): boolean {
  return first.length === second.length && first.every((value, i) => Object.is(value, second[i]));
}

const PAINTED = new WeakMap<HTMLCanvasElement, { look: Float64Array; ratio: number }>();

function paintCells(drawing: Drawing, cells: Cells): void {
  const { rows, columns, width, height, gap } = cells;
  const w = width - gap;
  const h = height - gap;
  const zero = css(cells.colour(0));
  for (let i = 0; i < rows * columns; i++) {
    const value = cells.values[i]!;
    const share = cells.max > 0 ? value / cells.max : 0;
    const x = (i % columns) * width;
    const y = Math.floor(i / columns) * height;
    drawing.fillStyle = css(Number.isNaN(value) ? cells.absent : cells.colour(share));
    drawing.fillRect(x, y, w, h);
    if (cells.hatched(i) && Math.abs(share) > 0.02 && Math.min(w, h) >= HATCHED) {
      hatch(drawing, zero, x, y, w, h);
    }
    if (share < -0.02) {
      const inset = Math.max(1, Math.min(w, h) * 0.28);
      drawing.fillStyle = zero;
      drawing.fillRect(x + inset, y + inset, w - 2 * inset, h - 2 * inset);
    }
    if (cells.dotted(i)) {
      const size = Math.max(2, Math.round(Math.min(w, h) * 0.2));
      drawing.fillStyle = cells.ink;
      drawing.fillRect(x + w - size, y, size, size);
    }
  }
}

/** Diagonal lines in the colour of nothing, from edge to edge. */
function hatch(drawing: Drawing, colour: string, x: number, y: number, w: number, h: number): void {
  drawing.strokeStyle = colour;
  drawing.globalAlpha = 0.6;
  drawing.lineWidth = 1.3;
  drawing.beginPath();
  for (let d = 4; d < w + h; d += 4) {
    drawing.moveTo(x + Math.max(d - h, 0), y + Math.min(d, h));
    drawing.lineTo(x + Math.min(d, w), y + Math.max(d - w, 0));
  }
  drawing.stroke();
  drawing.globalAlpha = 1;
}

export interface Matrix {
  /** Side of the square matrix; `side` times `side` values. */
  side: number;
  values: Numbers;
  max: number;
  /** What is shown of it. */
  part: Part;
  /** Size of the picture in CSS pixels. */
  width: number;
  height: number;
  colour: (share: number) => Rgb;
  /** Colour of what does not exist: later tokens, and the column set aside. */
  absent: Rgb;
  skipFirst: boolean;
}

/** Part of a square causal matrix, enlarged without smoothing, or pooled where it is too large. */
export function drawMatrix(canvas: HTMLCanvasElement, matrix: Matrix): void {
  const { part, width, height } = matrix;
  paint(canvas, width, height, (drawing) => {
    const [rows, columns] = [part.bottom - part.top, part.right - part.left];
    if (rows <= 0 || columns <= 0) return;
    const down = Math.min(rows, Math.max(canvas.height, 1));
    const across = Math.min(columns, Math.max(canvas.width, 1));
    paintMatrix(drawing, matrix, down, across);
  });
}

function paintMatrix(drawing: Drawing, matrix: Matrix, down: number, across: number): void {
  const { part, width, height } = matrix;
  const pooled = pool(matrix.values, matrix.side, part, down, across, matrix.skipFirst);
  const pixels = new ImageData(across, down);
  // Whole pixels at once: maps have tens of thousands, and change with every head.
  const words = new Uint32Array(pixels.data.buffer);
  const steps = Uint32Array.from({ length: 511 }, (_, i) => word(matrix.colour((i - 255) / 255)));
  const absent = word(matrix.absent);
  const scale = matrix.max > 0 ? 255 / matrix.max : 0;
  for (let i = 0; i < pooled.length; i++) {
    const step = Math.min(Math.max(pooled[i]! * scale, -255), 255);
    words[i] = Number.isNaN(step) ? absent : steps[Math.round(step) + 255]!;
  }
  const small = document.createElement("canvas");
  small.width = across;
  small.height = down;
  small.getContext("2d")?.putImageData(pixels, 0, 0);
  drawing.imageSmoothingEnabled = false;
  drawing.drawImage(small, 0, 0, width, height);
  const [w, h] = [width / across, height / down];
  if (Math.min(w, h) < HOLLOW || matrix.max <= 0) return;
  drawing.fillStyle = css(matrix.colour(0));
  for (let i = 0; i < pooled.length; i++) {
    if (!(pooled[i]! / matrix.max < -0.05)) continue;
    const [x, y] = [(i % across) * w, Math.floor(i / across) * h];
    drawing.fillRect(x + w * 0.32, y + h * 0.32, w * 0.36, h * 0.36);
  }
}

/** A pixel in memory: red comes first. */
function word([r, g, b]: Rgb): number {
  return ((255 << 24) | (Math.round(b) << 16) | (Math.round(g) << 8) | Math.round(r)) >>> 0;
}

/**
 * Reduce part of a causal matrix to `down` x `across` cells: of what falls into a cell, the value
 * of largest size, so that a thin line is not lost; NaN where there is only the future, or the
 * first column when it is left out.
 */
export function pool(
  values: Numbers,
  side: number,
  part: Part,
  down: number,
  across: number,
  skipFirst: boolean,
): Float32Array {
  const [rows, columns] = [part.bottom - part.top, part.right - part.left];
  const pooled = new Float32Array(down * across).fill(Number.NaN);
  for (let q = part.top; q < part.bottom; q++) {
    const i = Math.floor(((q - part.top) * down) / rows) * across;
    const last = Math.min(part.right, q + 1);
    for (let k = Math.max(part.left, skipFirst ? 1 : 0); k < last; k++) {
      const at = i + Math.floor(((k - part.left) * across) / columns);
      const value = values[q * side + k]!;
      if (!(Math.abs(pooled[at]!) >= Math.abs(value))) pooled[at] = value;
    }
  }
  return pooled;
}

/** What full colour stands for; `clips` where some values are larger. */
export interface ColourScale {
  full: number;
  clips: boolean;
}

/** In a picture of more cells, the few largest values take no part in the scale. */
const MANY = 5000;
const FEW = 0.002;
const BINS = 2048;

/**
 * Scale of the shown part of a causal matrix. The first rows of a long prompt share their attention
 * among a few tokens: on a scale up to their values everything else would be white.
 */
export function colourScale(
  values: Numbers,
  side: number,
  part: Part,
  skipFirst: boolean,
): ColourScale {
  const sizes = new Float32Array((part.bottom - part.top) * (part.right - part.left));
  let max = 0;
  let cells = 0;
  for (let q = part.top; q < part.bottom; q++) {
    const last = Math.min(part.right, q + 1);
    for (let k = Math.max(part.left, skipFirst ? 1 : 0); k < last; k++) {
      const size = Math.abs(values[q * side + k]!);
      if (size > max) max = size;
      sizes[cells++] = size;
    }
  }
  if (cells < MANY || max === 0) return { full: max, clips: false };
  const bins = new Uint32Array(BINS);
  for (let i = 0; i < cells; i++) {
    bins[Math.min(Math.floor((sizes[i]! / max) * BINS), BINS - 1)]!++;
  }
  let above = 0;
  let bin = BINS - 1;
  while (bin > 0 && above + bins[bin]! <= cells * FEW) above += bins[bin--]!;
  return { full: (max * (bin + 1)) / BINS, clips: above > 0 };
}

/** One scale for several pictures. */
export function larger(...scales: ColourScale[]): ColourScale {
  const full = Math.max(...scales.map((scale) => scale.full));
  return { full, clips: scales.some((scale) => scale.clips) };
}
