// Sizes of the matrix: cells and room for labels; names of rows or columns, as many as there is room
// for, those chosen, and the one pointed at.

import { SIDES } from "../../contract/contract.ts";
import type { State } from "../../core/state.ts";
import { h } from "../../draw/dom.ts";
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

/** The tokens along one edge of a matrix. */
export interface Axis {
  /** Positions of the tokens, and their texts. */
  positions: readonly number[];
  texts: readonly string[];
  /** Of a cell, in CSS pixels. */
  size: number;
  /** Every how many of them there is room for a name. */
  every: number;
}

export interface Labels {
  el: HTMLElement;
  draw(axis: Axis): void;
  /** Name the one that is selected; none for -1. */
  choose(index: number): void;
  /** Name one more, in front of the others. */
  point(index: number | undefined): void;
}

/** Names of more letters may have to be cut. */
const SHORT = 6;

/** Of rows, or of columns, whose names are slanted. */
export function axisLabels(name: string, slanted: boolean): Labels {
  const el = h("div", { class: name, "aria-hidden": "true" });
  // Turned all together: a browser keeps a layer for each thing that is turned by itself.
  const place = slanted ? h("div", { class: "tl-slanted" }) : el;
  if (slanted) el.append(place);
  let drawn: Axis | null = null;
  let named = new Map<number, HTMLElement>();
  let chosen = -1;
  let pointed: HTMLElement | null = null;
  /** In line, or over the others: each in a place of its own would be a layer of its own. */
  const label = ({ positions, texts, size }: Axis, index: number, over = false) => {
    const { word } = tokenText(texts[index]!);
    const long = [...word].length > SHORT;
    const marks = { "data-position": positions[index], "data-long": long, "data-over": over };
    return h("span", { ...marks, style: `--at: ${(index + 0.5) * size}px` }, h("bdi", {}, word));
  };
  return {
    el,
    draw(axis) {
      drawn = axis;
      pointed = null;
      chosen = -1;
      const shown = axis.positions.map((_, i) => i).filter((i) => i % axis.every === 0);
      named = new Map(shown.map((i) => [i, label(axis, i)]));
      place.style.setProperty("--size", `${axis.size}px`);
      place.style.setProperty("--step", `${axis.size * axis.every}px`);
      place.replaceChildren(...named.values());
    },
    choose(index) {
      if (!drawn || index === chosen) return;
      const before = named.get(chosen);
      before?.removeAttribute("data-chosen");
      if (chosen % drawn.every !== 0) {
        before?.remove();
        named.delete(chosen);
      }
      chosen = index < drawn.positions.length ? index : -1;
      if (chosen < 0) return;
      const now = named.get(chosen) ?? label(drawn, chosen, true);
      now.dataset.chosen = "";
      if (!now.isConnected) place.append(now);
      named.set(chosen, now);
    },
    point(index) {
      pointed?.remove();
      pointed = null;
      if (index === undefined || !drawn || index >= drawn.positions.length) return;
      pointed = label(drawn, index, true);
      pointed.dataset.hover = "";
      place.append(pointed);
    },
  };
}
