// Which part of the attention maps is shown: pure arithmetic on parts of a square.

/** Part of a matrix: rows and columns from the first up to, not including, the last. */
export interface Part {
  top: number;
  bottom: number;
  left: number;
  right: number;
}

/** Fewer rows or columns are not shown. */
const SMALLEST = 4;

export function whole(length: number): Part {
  return { top: 0, bottom: length, left: 0, right: length };
}

export function isWhole(part: Part, length: number): boolean {
  return part.top <= 0 && part.left <= 0 && part.bottom >= length && part.right >= length;
}

/** Larger (factor below 1) or smaller around a cell, which keeps its place in the picture. */
export function zoomed(
  part: Part,
  factor: number,
  [row, column]: [number, number],
  length: number,
): Part {
  const [top, bottom] = span(part.top, part.bottom, factor, row, length);
  const [left, right] = span(part.left, part.right, factor, column, length);
  return { top, bottom, left, right };
}

/** What lies between two cells, both included. */
export function between(a: [number, number], b: [number, number], length: number): Part {
  const [top, bottom] = grown(Math.min(a[0], b[0]), Math.max(a[0], b[0]) + 1, length);
  const [left, right] = grown(Math.min(a[1], b[1]), Math.max(a[1], b[1]) + 1, length);
  return { top, bottom, left, right };
}

/** The same size, moved so that it holds the row. */
export function holding(part: Part, row: number): Part {
  const by = row < part.top ? row - part.top : row >= part.bottom ? row + 1 - part.bottom : 0;
  return by === 0 ? part : { ...part, top: part.top + by, bottom: part.bottom + by };
}

/** Moved by whole cells, inside the square. */
export function moved(part: Part, columns: number, length: number): Part {
  const by = Math.min(Math.max(columns, -part.left), length - part.right);
  return { ...part, left: part.left + by, right: part.right + by };
}

function span(
  from: number,
  to: number,
  factor: number,
  around: number,
  length: number,
): [number, number] {
  const size = Math.min(Math.max(Math.round((to - from) * factor), SMALLEST), length);
  const inside = Math.min(Math.max(around, from), to - 1);
  const share = (inside - from) / Math.max(to - from - 1, 1);
  const wanted = Math.floor(inside) - Math.round(share * (size - 1));
  const start = Math.min(Math.max(wanted, 0), length - size);
  return [start, start + size];
}

function grown(from: number, to: number, length: number): [number, number] {
  const more = Math.max(Math.min(SMALLEST, length) - (to - from), 0);
  const start = Math.min(Math.max(from - Math.floor(more / 2), 0), length - (to - from) - more);
  return [start, start + (to - from) + more];
}
