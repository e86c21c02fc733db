// What the saliency panel shows for a selection: numbers per token, without any drawing.

import { type BySide, keys, SIDES, type Side } from "../../contract/contract.ts";
import { parseUnit, unitName } from "../../contract/units.ts";
import type { Store } from "../../core/store.ts";
import { density, instructionScore, levels } from "../../maths/density.ts";
import { bySide, largest, meanRows, type Numbers } from "../../maths/numbers.ts";
import type { View } from "../../shell/frame.ts";
import { loadTables, type Table } from "./table.ts";

export type Focus = "answer" | "span" | "answer token" | "prompt token";

/** Numbers on the prompt's or the answer's tokens, one list per model; null: none to show. */
export interface Bars {
  focus: Focus;
  measure: "density" | "effect" | "levels";
  /** Where the numbers stand. */
  on: "prompt" | "answer";
  values: BySide<Float64Array | null>;
  /** Which of the numbers are measured; the others are estimated. */
  exact: BySide<boolean[]>;
  /** tuned - base, where both stand for the same thing. */
  differences: Float64Array | null;
  scores: BySide<number> | null;
  tables: BySide<Table | null>;
}

/** A second line of numbers under every token of the text, such as attention of a head. */
export interface Track {
  name: string;
  values: BySide<Numbers>;
  /** Positions left out of the picture. */
  skip: readonly number[];
}

export function focusOf(store: Store): Focus {
  const { token } = store.selection;
  if (token < 0) return "answer";
  if (token < store.promptLength) return "prompt token";
  return store.span ? "span" : "answer token";
}

/** Whether the bars are of one token, or of several answer tokens taken together. */
export function together(focus: Focus): boolean {
  return focus === "answer" || focus === "span";
}

/** Answer tokens of one model that are selected; all of them for the whole answer. */
export function columnsOf(store: Store, side: Side): number[] {
  const { token } = store.selection;
  const n = store.promptLength;
  const [from, to] = token < n ? [n, Number.POSITIVE_INFINITY] : (store.span ?? [token, token]);
  const m = store.answer(side).tokens.length;
  return Array.from({ length: m }, (_, i) => i).filter((i) => i + n >= from && i + n <= to);
}

/** Rows that count for levels and densities: neither special nor template tokens. */
export function scoredTokens(store: Store): number[] {
  return store.marked("instruction", "context", "other");
}

export async function loadBars(view: View): Promise<Bars> {
  const { store } = view;
  const focus = focusOf(store);
  const nothing: Bars = {
    focus,
    measure: together(focus)
      ? store.options.saliency.answerMeasure
      : store.options.saliency.tokenMeasure,
    on: focus === "prompt token" ? "answer" : "prompt",
    values: { base: null, tuned: null },
    exact: { base: [], tuned: [] },
    differences: null,
    scores: null,
    tables: { base: null, tuned: null },
  };
  if (!store.method) return nothing;
  return barsOf(store, nothing, await loadTables(view, focus === "answer token"));
}

/** Everything that follows from the effects, at once. */
export function barsOf(store: Store, frame: Bars, tables: BySide<Table | null>): Bars {
  const bars = { ...frame, values: { ...frame.values }, exact: { ...frame.exact }, tables };
  for (const side of SIDES) {
    const table = tables[side];
    const columns = table ? columnsOf(store, side) : [];
    if (!table || columns.length === 0) continue;
    const { values, exact } =
      bars.on === "answer" ? along(store, table) : over(store, bars, table, columns);
    bars.values[side] = values;
    bars.exact[side] = exact;
  }
  const { base, tuned } = bars.values;
  // Without a shared answer, token m of one is not token m of the other.
  if (base && tuned && (store.manifest.shared || bars.focus === "answer")) {
    bars.differences = base.map((value, i) => tuned[i]! - value);
  }
  if (together(bars.focus)) bars.scores = scoresOf(store, tables);
  return bars;
}

interface Row {
  values: Float64Array;
  exact: boolean[];
}

/** Where the selected prompt token matters along the answer. */
function along(store: Store, { effects, exact, width }: Table): Row {
  const { token } = store.selection;
  const { density: settings, tokenMeasure } = store.options.saliency;
  if (tokenMeasure === "effect") {
    const of = Array.from({ length: width }, (_, m) => token * width + m);
    return {
      values: Float64Array.from(of, (i) => effects[i]!),
      exact: of.map((i) => exact[i]!),
    };
  }
  const level = levelsOf(store, effects, width, settings.levels);
  return {
    values: level.slice(token * width, (token + 1) * width),
    exact: Array(width).fill(exact.every(Boolean)),
  };
}

/** What some answer tokens rest on, taken together. */
function over(store: Store, bars: Bars, table: Table, columns: readonly number[]): Row {
  const width = columns.length;
  const rows = table.effects.length / table.width;
  const places = Array.from({ length: rows * width }, (_, i) => {
    return Math.floor(i / width) * table.width + table.place(columns[i % width]!);
  });
  const effects = Float64Array.from(places, (i) => table.effects[i]!);
  const known = places.map((i) => table.exact[i]!);
  if (bars.measure === "effect") {
    const exact = Array.from({ length: rows }, (_, n) =>
      known.slice(n * width, (n + 1) * width).every(Boolean),
    );
    return { values: rowMeans(effects, width), exact };
  }
  const { density: settings } = store.options.saliency;
  // Levels are shares of the largest effect: one that is estimated makes all of them so.
  const exact = Array(rows).fill(known.every(Boolean));
  if (effects.some(Number.isNaN)) return { values: new Float64Array(rows).fill(Number.NaN), exact };
  const values =
    bars.measure === "density"
      ? density(effects, width, settings, scoredTokens(store))
      : rowMeans(levelsOf(store, effects, width, settings.levels), width);
  return { values, exact };
}

function levelsOf(store: Store, effects: Numbers, width: number, count: number): Float64Array {
  const { pictureThreshold } = store.options.saliency;
  const level = levels(effects, width, count, scoredTokens(store));
  return level.map((value) => (value > pictureThreshold ? value : 0));
}

/** The paper's instruction score of both models, with the normalisation that is set. */
function scoresOf(store: Store, tables: BySide<Table | null>): BySide<number> | null {
  const instruction = store.marked("instruction");
  if (instruction.length === 0) return null;
  const of = (side: Side) => {
    const table = tables[side];
    const columns = columnsOf(store, side);
    if (!table || columns.length === 0) return 0;
    const frame = { measure: "density" } as Bars;
    return instructionScore(over(store, frame, table, columns).values, instruction);
  };
  return { base: of("base"), tuned: of("tuned") };
}

function rowMeans(data: Numbers, width: number): Float64Array {
  const means = new Float64Array(data.length / width);
  for (let i = 0; i < data.length; i++) means[Math.floor(i / width)]! += data[i]! / width;
  return means;
}

/** Tracks that the selected head and unit add. */
export async function loadTracks(view: View): Promise<Track[]> {
  const { store } = view;
  const { layer, head, unit } = store.selection;
  const tracks: Track[] = [];
  if (head >= 0) tracks.push(await attentionTrack(view, layer, head));
  const parsed = parseUnit(unit);
  if (parsed) {
    const values = await bySide((side) => activations(view, side, layer, unit));
    const name = `activation of ${unitName(unit)} in layer ${layer}`;
    tracks.push({ name, values, skip: [] });
    if (parsed.kind === "component") {
      const turned = await view.optional(alongBase(view, layer, parsed.index, values.base), true);
      if (turned) tracks.push(turned);
    }
  }
  return tracks;
}

/** The largest value of a track outside what is set aside. */
export function trackScale({ values, skip }: Track): number {
  return largest(
    ...SIDES.map((side) => Array.from(values[side], (v, i) => (skip.includes(i) ? 0 : v))),
  );
}

/** One direction followed through both models: base's, with what tuned puts along it. */
async function alongBase(
  view: View,
  layer: number,
  component: number,
  base: Numbers,
): Promise<Track> {
  const { data, shape } = await view.block(keys.baseComponentActivations(layer));
  const [length, width] = shape as [number, number];
  const tuned = Float64Array.from({ length }, (_, t) => data[t * width + component]!);
  const name = `along base’s direction of concept ${component}, in both`;
  return { name, values: { base, tuned }, skip: [] };
}

async function attentionTrack(view: View, layer: number, head: number): Promise<Track> {
  const { store } = view;
  const { token } = store.selection;
  const values = await bySide(async (side) => {
    const { data, shape } = await view.block(keys.attention(side, layer, head));
    const width = shape[1]!;
    if (token < 0) return meanRows(data, width, Math.max(store.promptLength - 1, 0), width - 1);
    return store.reading < width
      ? data.subarray(store.reading * width, (store.reading + 1) * width)
      : [];
  });
  const skip = store.options.saliency.setSinkAside ? [0] : [];
  const aside = skip.length
    ? `; first token set aside: ${SIDES.map((side) => `${side} ${Math.round((values[side][0] ?? 0) * 100)} %`).join(", ")}`
    : "";
  const from = token < 0 ? "mean over the answer" : "for the selected token";
  return { name: `attention of head ${layer}.${head}, ${from}${aside}`, values, skip };
}

/** Activation of a unit along all tokens of one model. */
export async function activations(
  view: View,
  side: Side,
  layer: number,
  unit: string,
): Promise<Numbers> {
  const { kind, index } = parseUnit(unit)!;
  if (kind === "neuron") {
    return (await view.block(keys.neuronActivations(side, layer, index))).data;
  }
  const { data, shape } = await view.block(keys.componentActivations(side, layer));
  const [length, width] = shape as [number, number];
  return Float64Array.from({ length }, (_, t) => data[t * width + index] ?? Number.NaN);
}
