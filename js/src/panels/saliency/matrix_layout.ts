// Sizes of the matrix: cells, room for labels, and how many labels there is room for.

import { SIDES } from "../../contract/contract.ts";
import type { State } from "../../core/state.ts";
import { tokenText } from "../../draw/format.ts";
import type { Matrix } from "./matrix_data.ts";

export interface Layout {
  /** Of a cell, in CSS pixels. */
  width: number;
  height: number;
  /** Room for the names of the rows. */
  gutter: number;
  /** Room for the slanted names of the columns. */
  slope: number;
  /** Every how many rows and columns there is room for a name. */
  everyRow: number;
  everyColumn: number;
  /** Below each other, where they do not fit side by side. */
  stacked: boolean;
}

const GAP = 26;
const WIDEST = 22;
/** Rows are this high, in pixels. */
const LOWEST = 7;
const HIGHEST = 26;
/** Room for the title above, and for what stands under the names. */
const HEADING = 60;
/** Narrower cells go below each other; where even then they are narrower, the matrix scrolls. */
const NARROWEST = 3;
/** Room for a title with its scale. */
const TITLE = 165;
/** Width of a letter, as wide as capitals are. */
const LETTER = 7.6;
const LONGEST = 12;

/** Room for the matrix; no height where it may be as high as it likes. */
export interface Room {
  width: number;
  height: number | null;
}

export function layoutOf(
  state: State,
  matrix: Matrix,
  { width: room, height: free }: Room,
  scale: number,
): Layout {
  const columns = matrix.columns.length;
  const pictures = SIDES.filter((side) => matrix.sides[side]).length + (matrix.difference ? 1 : 0);
  const rows = Math.max(...SIDES.map((side) => matrix.sides[side]?.rows ?? 0));
  const letters = (texts: string[]) =>
    Math.min(Math.max(1, ...texts.map((text) => [...tokenText(text).word].length)), LONGEST);
  const names = SIDES.flatMap((side) => state.answer(side).tokens.map(({ text }) => text));
  const gutter = Math.ceil((letters(names) * LETTER + 14) * scale);
  const longest = letters(matrix.columns.map((n) => state.text(n)));
  const gutters = state.manifest.shared ? 1 : pictures;
  const beside = (room - gutters * gutter - (pictures - 1) * GAP) / pictures / columns;
  const stacked = beside < NARROWEST || beside * columns < TITLE * scale;
  const across = stacked ? (room - gutter) / columns : beside;
  const width = Math.min(Math.max(across, NARROWEST), WIDEST * scale);
  const slope = Math.ceil(longest * LETTER * scale * 0.8) + 10;
  const down = free === null || stacked ? 200 * scale : free - slope - HEADING * scale;
  const height = Math.min(Math.max(Math.floor(down / rows), LOWEST), HIGHEST * scale);
  return {
    // Whole pixels keep the cells alike, where there is enough room for it.
    width: width >= 8 ? Math.floor(width) : Math.floor(width * 4) / 4,
    height: Math.floor(height),
    gutter,
    slope,
    everyRow: Math.max(1, Math.ceil((12.5 * scale) / Math.floor(height))),
    everyColumn: Math.max(1, Math.ceil((14 * scale) / width)),
    stacked,
  };
}
