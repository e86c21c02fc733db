// Prompt by answer: the effect of every prompt token on every answer token, without any drawing.

import { type BySide, SIDES, type Side } from "../../contract/contract.ts";
import type { State } from "../../core/state.ts";
import { eachSide, largest, type Numbers } from "../../maths/numbers.ts";
import type { Row } from "../../shell/frame.ts";
import type { Table } from "./table.ts";

export interface MatrixOf {
  /** Answer tokens of this model. */
  rows: number;
  /** Rows by columns; NaN where nothing is known. */
  values: Numbers;
  /** Which of them are measured. */
  exact: readonly boolean[];
}

export interface Matrix {
  /** Prompt tokens that have a column. */
  columns: readonly number[];
  sides: BySide<MatrixOf | null>;
  /** tuned - base, where both read one answer. */
  difference: MatrixOf | null;
  /** The value of full colour, of both models and their difference. */
  max: number;
  /** Template and special tokens without a column, and the largest effect of one of them. */
  hidden: { count: number; largest: number };
}

const OUTSIDE = ["template", "special"];

/** Prompt tokens that stand as columns; all of them where there is nothing but template. */
function columnsOf(state: State): number[] {
  const all = state.segments.map((_, n) => n);
  if (!state.options.saliency.hideTemplate) return all;
  const inside = all.filter((n) => !OUTSIDE.includes(state.segments[n]!));
  return inside.length ? inside : all;
}

export function matrixOf(state: State, tables: BySide<Table | null>): Matrix | null {
  const columns = columnsOf(state);
  const sides = eachSide((side) => cells(state, side, tables[side], columns));
  const { base, tuned } = sides;
  if (!base && !tuned) return null;
  const rest = state.segments.flatMap((_, n) => (columns.includes(n) ? [] : [n]));
  return {
    columns,
    sides,
    difference: base && tuned && state.manifest.shared ? differenceOf(base, tuned) : null,
    max: largest(...SIDES.map((side) => sides[side]?.values)),
    hidden: {
      count: rest.length,
      largest: largest(...SIDES.map((side) => cells(state, side, tables[side], rest)?.values)),
    },
  };
}

function cells(
  state: State,
  side: Side,
  table: Table | null,
  columns: readonly number[],
): MatrixOf | null {
  const rows = state.answer(side).tokens.length;
  if (!table || rows === 0) return null;
  // A table of one column knows the selected answer token only.
  const single = table.width !== rows ? state.selection.token - state.promptLength : -1;
  const at = (m: number, n: number) =>
    single < 0 ? n * table.width + m : m === single ? n * table.width : -1;
  const values = new Float64Array(rows * columns.length).fill(Number.NaN);
  const exact = new Array<boolean>(values.length).fill(false);
  for (let m = 0; m < rows; m++) {
    for (const [k, n] of columns.entries()) {
      const place = at(m, n);
      if (place < 0) continue;
      values[m * columns.length + k] = table.effects[place]!;
      exact[m * columns.length + k] = table.exact[place]!;
    }
  }
  return { rows, values, exact };
}

function differenceOf(base: MatrixOf, tuned: MatrixOf): MatrixOf {
  return {
    rows: tuned.rows,
    values: Float64Array.from(tuned.values, (value, i) => value - base.values[i]!),
    exact: tuned.exact.map((exact, i) => exact && base.exact[i]!),
  };
}

/** Cell by cell, for a file. */
export function matrixTable(state: State, matrix: Matrix): Row[] {
  const { columns, sides, difference } = matrix;
  const rows = Math.max(...SIDES.map((side) => sides[side]?.rows ?? 0));
  const names = ["answer_token", "answer", "prompt_token", "prompt", ...SIDES, "difference"];
  const table: Row[] = [names];
  for (let m = 0; m < rows; m++) {
    for (const [k, prompt] of columns.entries()) {
      const at = m * columns.length + k;
      const value = (side: (typeof SIDES)[number]) => sides[side]?.values[at] ?? Number.NaN;
      const third = difference?.values[at] ?? Number.NaN;
      const texts = [state.text(state.promptLength + m), prompt, state.text(prompt)] as const;
      table.push([m, ...texts, value("base"), value("tuned"), third]);
    }
  }
  return table;
}
