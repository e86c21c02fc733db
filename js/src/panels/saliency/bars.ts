// What the saliency panel shows for a selection: numbers per token, without any drawing.

import type { BySide, Side } from "../../contract/contract.ts";
import type { State } from "../../core/state.ts";
import { density, levels } from "../../maths/density.ts";
import { eachSide, type Numbers } from "../../maths/numbers.ts";
import { columnsOf, type Focus, focusOf, together } from "./focus.ts";
import type { Table } from "./table.ts";

/** Numbers on the prompt's or the answer's tokens, one list per model; null: none to show. */
export interface Bars {
  focus: Focus;
  measure: "none" | "density" | "effect" | "levels";
  /** Where the numbers stand. */
  on: "prompt" | "answer";
  values: BySide<Float64Array | null>;
  /** Which of the numbers are measured; the others are estimated. */
  exact: BySide<boolean[]>;
  /** tuned - base, where both stand for the same thing. */
  differences: Float64Array | null;
}

/** Everything that follows from the effects, at once. */
export function barsOf(state: State, tables: BySide<Table | null>): Bars {
  const focus = focusOf(state);
  const measure = measureOf(state, focus);
  const on = focus === "prompt token" ? "answer" : "prompt";
  const rows = eachSide((side) => {
    const table = tables[side];
    const columns = columnsOf(state, side);
    if (!table || columns.length === 0 || measure === "none") return null;
    return on === "answer" ? along(state, table) : over(state, measure, table, columns);
  });
  const values = eachSide((side) => rows[side]?.values ?? null);
  const { base, tuned } = values;
  // Without a shared answer, token m of one is not token m of the other.
  const alike = state.manifest.shared || focus === "answer";
  // The matrix has the difference of effects on one token.
  const beside = together(focus) || measure === "levels";
  return {
    focus,
    measure,
    on,
    values,
    exact: eachSide((side) => rows[side]?.exact ?? []),
    differences:
      base && tuned && alike && beside ? base.map((value, i) => tuned[i]! - value) : null,
  };
}

/** What the bars show; the matrix alone shows the whole answer, unless bars are asked for. */
function measureOf(state: State, focus: Focus): Bars["measure"] {
  const { answerMeasure, tokenMeasure } = state.options.saliency;
  if (focus === "span" && answerMeasure === "none") return "effect";
  return together(focus) ? answerMeasure : tokenMeasure;
}

/** Rows that count for levels and densities: neither special nor template tokens. */
export function scoredTokens(state: State): number[] {
  return state.marked("instruction", "context", "other");
}

interface Row {
  values: Float64Array;
  exact: boolean[];
}

/** Where the selected prompt token matters along the answer. */
function along(state: State, { effects, exact, width }: Table): Row {
  const { token } = state.selection;
  const { density: settings, tokenMeasure } = state.options.saliency;
  if (tokenMeasure === "effect") {
    const places = Array.from({ length: width }, (_, m) => token * width + m);
    return {
      values: Float64Array.from(places, (i) => effects[i]!),
      exact: places.map((i) => exact[i]!),
    };
  }
  const level = levelsOf(state, effects, width, settings.levels);
  return {
    values: level.slice(token * width, (token + 1) * width),
    exact: Array(width).fill(exact.every(Boolean)),
  };
}

/** What some answer tokens rest on, taken together. */
function over(
  state: State,
  measure: Bars["measure"],
  table: Table,
  columns: readonly number[],
): Row {
  const width = columns.length;
  const rows = table.effects.length / table.width;
  const places = Array.from({ length: rows * width }, (_, i) => {
    return Math.floor(i / width) * table.width + table.place(columns[i % width]!);
  });
  const effects = Float64Array.from(places, (i) => table.effects[i]!);
  const known = places.map((i) => table.exact[i]!);
  if (measure === "effect") {
    const exact = Array.from({ length: rows }, (_, n) =>
      known.slice(n * width, (n + 1) * width).every(Boolean),
    );
    return { values: rowMeans(effects, width), exact };
  }
  const { density: settings } = state.options.saliency;
  // Levels are shares of the largest effect: one that is estimated makes all of them so.
  const exact = Array(rows).fill(known.every(Boolean));
  if (effects.some(Number.isNaN)) return { values: new Float64Array(rows).fill(Number.NaN), exact };
  const values =
    measure === "density"
      ? density(effects, width, settings, scoredTokens(state))
      : rowMeans(levelsOf(state, effects, width, settings.levels), width);
  return { values, exact };
}

function levelsOf(state: State, effects: Numbers, width: number, count: number): Float64Array {
  const { pictureThreshold } = state.options.saliency;
  const level = levels(effects, width, count, scoredTokens(state));
  return level.map((value) => (value > pictureThreshold ? value : 0));
}

/** Importance density over the selected answer tokens; null where one is not known. */
export function densityOf(state: State, side: Side, table: Table): Float64Array | null {
  const columns = columnsOf(state, side);
  if (columns.length === 0) return null;
  const { values } = over(state, "density", table, columns);
  return values.some(Number.isNaN) ? null : values;
}

function rowMeans(data: Numbers, width: number): Float64Array {
  const means = new Float64Array(data.length / width);
  for (let i = 0; i < data.length; i++) means[Math.floor(i / width)]! += data[i]! / width;
  return means;
}
