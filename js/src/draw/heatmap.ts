// Matrices on canvas at device pixel ratio.

import type { Numbers } from "../core/numbers.ts";
import { css, type Rgb } from "./scales.ts";

export interface Cells {
  rows: number;
  columns: number;
  values: Numbers;
  /** The value drawn in full colour. */
  max: number;
  width: number;
  height: number;
  gap: number;
  colour: (share: number) => Rgb;
  /** Draw negative values as rings. */
  hollowNegative?: boolean;
}

/** Context of a canvas sized in CSS pixels, or null where there is none (no browser). */
export function context(
  canvas: HTMLCanvasElement,
  width: number,
  height: number,
): CanvasRenderingContext2D | null {
  const ratio = globalThis.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== h) canvas.height = h;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const drawing = canvas.getContext("2d");
  drawing?.setTransform(ratio, 0, 0, ratio, 0, 0);
  drawing?.clearRect(0, 0, width, height);
  return drawing;
}

/** A few hundred cells with gaps between them: layers by heads. */
export function drawCells(canvas: HTMLCanvasElement, cells: Cells): void {
  const { rows, columns, width, height, gap } = cells;
  const drawing = context(canvas, columns * width, rows * height);
  if (!drawing) return;
  const w = width - gap;
  const h = height - gap;
  for (let i = 0; i < rows * columns; i++) {
    const share = cells.max > 0 ? cells.values[i]! / cells.max : 0;
    const x = (i % columns) * width;
    const y = Math.floor(i / columns) * height;
    drawing.fillStyle = css(cells.colour(share));
    drawing.fillRect(x, y, w, h);
    if (cells.hollowNegative && share < -0.02) {
      const inset = Math.max(1, Math.min(w, h) * 0.28);
      drawing.fillStyle = css(cells.colour(0));
      drawing.fillRect(x + inset, y + inset, w - 2 * inset, h - 2 * inset);
    }
  }
}

export interface Matrix {
  /** Side of the square matrix; `side` times `side` values. */
  side: number;
  values: Numbers;
  max: number;
  /** Side of the picture in CSS pixels. */
  size: number;
  colour: (share: number) => Rgb;
  /** Colour of what does not exist: later tokens, and the column set aside. */
  absent: Rgb;
  skipFirst: boolean;
}

/** A square causal matrix, one pixel per value, enlarged without smoothing. */
export function drawMatrix(canvas: HTMLCanvasElement, matrix: Matrix): void {
  const { side, size } = matrix;
  const drawing = context(canvas, size, size);
  if (!drawing || side === 0) return;
  const pixels = new ImageData(side, side);
  const steps = Array.from({ length: 511 }, (_, i) => matrix.colour((i - 255) / 255));
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const at = row * side + column;
      const gone = column > row || (matrix.skipFirst && column === 0);
      const share = matrix.max > 0 ? matrix.values[at]! / matrix.max : 0;
      const step = Math.round(Math.min(Math.max(share, -1), 1) * 255) + 255;
      const [r, g, b] = gone ? matrix.absent : steps[step]!;
      pixels.data.set([r, g, b, 255], at * 4);
    }
  }
  const small = document.createElement("canvas");
  small.width = side;
  small.height = side;
  small.getContext("2d")?.putImageData(pixels, 0, 0);
  drawing.imageSmoothingEnabled = false;
  drawing.drawImage(small, 0, 0, size, size);
}
