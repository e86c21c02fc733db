// Matrices on canvas at device pixel ratio.

import { once } from "../maths/memo.ts";
import { equal, type Numbers } from "../maths/numbers.ts";
import type { Part } from "../maths/zoom.ts";
import { type Drawing, paint } from "./painted.ts";
import { css, type Rgb } from "./theme.ts";

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
  const { rows, columns, width, height, gap, ink } = cells;
  const colours = wordsOf(cells.values, rows * columns, cells);
  const marked = marksOf(cells);
  const zero = css(cells.colour(0));
  const sizes = [rows, columns, width, height, gap, globalThis.devicePixelRatio, zero, ink].join();
  const painted = PAINTED.get(canvas);
  const same =
    sizes === painted?.sizes && equal(colours, painted.colours) && equal(marked, painted.marked);
  if (!marks && same) return;
  PAINTED.set(canvas, { sizes, colours, marked });
  paint(canvas, columns * width, rows * height, (drawing) => {
    fillCells(drawing, cells, colours);
    markCells(drawing, cells, marked, zero);
    marks?.(drawing);
  });
}

/** What is painted on a canvas. */
const PAINTED = new WeakMap<
  HTMLCanvasElement,
  { sizes: string; colours: Uint32Array; marked: Uint8Array }
>();
/** What lies on a cell: lines of an estimate, the hole of a negative value, a dot. */
const [LINES, HOLE, DOT] = [1, 2, 4];

function marksOf({ rows, columns, values, max, width, height, gap, ...cells }: Cells): Uint8Array {
  const wide = Math.min(width, height) - gap >= HATCHED;
  const marks = new Uint8Array(rows * columns);
  for (let i = 0; i < marks.length; i++) {
    const share = max > 0 ? values[i]! / max : 0;
    const lines = wide && Math.abs(share) > 0.02 && cells.hatched(i) ? LINES : 0;
    marks[i] = lines + (share < -0.02 ? HOLE : 0) + (cells.dotted(i) ? DOT : 0);
  }
  return marks;
}

function markCells(drawing: Drawing, cells: Cells, marks: Uint8Array, zero: string): void {
  const [w, h] = [cells.width - cells.gap, cells.height - cells.gap];
  for (const [i, mark] of marks.entries()) {
    if (!mark) continue;
    const x = (i % cells.columns) * cells.width;
    const y = Math.floor(i / cells.columns) * cells.height;
    if (mark & LINES) hatch(drawing, zero, x, y, w, h);
    if (mark & HOLE) {
      const inset = Math.max(1, Math.min(w, h) * 0.28);
      drawing.fillStyle = zero;
      drawing.fillRect(x + inset, y + inset, w - 2 * inset, h - 2 * inset);
    }
    if (mark & DOT) {
      const size = Math.max(2, Math.round(Math.min(w, h) * 0.2));
      drawing.fillStyle = cells.ink;
      drawing.fillRect(x + w - size, y, size, size);
    }
  }
}

/** On a canvas all pixels at once: thousands of rectangles take milliseconds. */
function fillCells(drawing: Drawing, cells: Cells, colours: Uint32Array): void {
  const { rows, columns, width, height, gap } = cells;
  const { canvas } = drawing as Partial<CanvasRenderingContext2D>;
  if (!canvas) {
    for (const [i, word] of colours.entries()) {
      drawing.fillStyle = css([word & 255, (word >> 8) & 255, (word >> 16) & 255]);
      const [x, y] = [(i % columns) * width, Math.floor(i / columns) * height];
      drawing.fillRect(x, y, width - gap, height - gap);
    }
    return;
  }
  const { width: line } = canvas;
  const pixels = new ImageData(line, canvas.height);
  const words = new Uint32Array(pixels.data.buffer);
  const edge = (at: number) => Math.round((at * line) / (columns * width));
  for (let row = 0; row < rows; row++) {
    const top = edge(row * height) * line;
    for (let column = 0; column < columns; column++) {
      const x = column * width;
      const colour = colours[row * columns + column]!;
      words.fill(colour, top + edge(x), top + edge(x + width - gap));
    }
    const bottom = edge((row + 1) * height - gap) * line;
    for (let at = top + line; at < bottom; at += line) words.copyWithin(at, top, top + line);
  }
  (drawing as CanvasRenderingContext2D).putImageData(pixels, 0, 0);
}

/** Pixels of values, from as many colours as a channel has steps. */
function wordsOf(
  values: Numbers,
  count: number,
  { max, colour, absent }: Pick<Cells, "max" | "colour" | "absent">,
): Uint32Array {
  const steps = Uint32Array.from({ length: 511 }, (_, i) => word(colour((i - 255) / 255)));
  const none = word(absent);
  const scale = max > 0 ? 255 / max : 0;
  const words = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    const step = values[i]! * scale;
    if (Number.isNaN(step)) words[i] = none;
    else words[i] = steps[step > 255 ? 510 : step < -255 ? 0 : Math.floor(step + 255.5)]!;
  }
  return words;
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
  /** Asked for when it is painted, as is the scale. */
  values(): Numbers;
  max(): number;
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
export function drawMatrix(canvas: HTMLCanvasElement, matrix: Matrix, beside: () => void): void {
  const { part, width, height } = matrix;
  const painter = (drawing: Drawing) => {
    const [rows, columns] = [part.bottom - part.top, part.right - part.left];
    if (rows <= 0 || columns <= 0) return;
    const down = Math.min(rows, Math.max(canvas.height, 1));
    const across = Math.min(columns, Math.max(canvas.width, 1));
    paintMatrix(drawing, matrix, down, across);
  };
  paint(canvas, width, height, painter, beside);
}

const scratch = once(() => document.createElement("canvas"));

function paintMatrix(drawing: Drawing, matrix: Matrix, down: number, across: number): void {
  const { part, width, height, side, skipFirst, colour, absent } = matrix;
  const max = matrix.max();
  const pooled = pool(matrix.values(), side, part, down, across, skipFirst);
  const pixels = new ImageData(across, down);
  new Uint32Array(pixels.data.buffer).set(wordsOf(pooled, pooled.length, { max, colour, absent }));
  const small = scratch();
  small.width = across;
  small.height = down;
  small.getContext("2d")?.putImageData(pixels, 0, 0);
  drawing.imageSmoothingEnabled = false;
  drawing.drawImage(small, 0, 0, width, height);
  const [w, h] = [width / across, height / down];
  if (Math.min(w, h) < HOLLOW || max <= 0) return;
  drawing.fillStyle = css(colour(0));
  for (let i = 0; i < pooled.length; i++) {
    if (!(pooled[i]! / max < -0.05)) continue;
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
  const from = Math.max(part.left, skipFirst ? 1 : 0);
  // Where cells end: of a long text a million values are looked at.
  const ends = Int32Array.from(
    { length: across },
    (_, i) => part.left + Math.ceil(((i + 1) * columns) / across),
  );
  const first = Math.floor(((from - part.left) * across) / columns);
  for (let q = part.top; q < part.bottom; q++) {
    const row = q * side;
    const last = Math.min(part.right, q + 1);
    let at = Math.floor(((q - part.top) * down) / rows) * across + first;
    let cell = first;
    for (let k = from; k < last; at++) {
      const end = Math.min(ends[cell++]!, last);
      let most = pooled[at]!;
      for (; k < end; k++) {
        const value = values[row + k]!;
        if (!(Math.abs(most) >= Math.abs(value))) most = value;
      }
      pooled[at] = most;
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
  const first = Math.max(part.left, skipFirst ? 1 : 0);
  let max = 0;
  let cells = 0;
  for (let q = part.top; q < part.bottom; q++) {
    const last = q * side + Math.min(part.right, q + 1);
    cells += Math.max(last - q * side - first, 0);
    for (let i = q * side + first; i < last; i++) {
      const size = Math.abs(values[i]!);
      if (size > max) max = size;
    }
  }
  if (cells < MANY || max === 0) return { full: max, clips: false };
  const bins = new Uint32Array(BINS);
  const scale = BINS / max;
  for (let q = part.top; q < part.bottom; q++) {
    const last = q * side + Math.min(part.right, q + 1);
    for (let i = q * side + first; i < last; i++) {
      bins[Math.min(Math.floor(Math.abs(values[i]!) * scale), BINS - 1)]!++;
    }
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
