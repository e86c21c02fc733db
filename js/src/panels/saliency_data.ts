// What the saliency panel shows for a selection: numbers per token, without any drawing.

import { density, instructionScore, levels } from "../core/density.ts";
import { bySide, largest, meanRows, type Numbers } from "../core/numbers.ts";
import { row, type Store } from "../core/store.ts";
import { type BySide, parseUnit, SIDES, type Side, type Tensor } from "../protocol.ts";
import { unitName } from "./concepts_data.ts";
import type { View } from "./panel.ts";

export type Focus = "answer" | "answer token" | "prompt token";

/** Numbers on the prompt's or the answer's tokens, one list per model; null: none to show. */
export interface Bars {
  focus: Focus;
  measure: "density" | "effect" | "levels";
  /** Where the numbers stand. */
  on: "prompt" | "answer";
  values: BySide<Float64Array | null>;
  scores: BySide<number> | null;
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
  return token >= store.promptLength ? "answer token" : "prompt token";
}

/** Rows that count for levels and densities: neither special nor template tokens. */
export function scoredTokens(store: Store): number[] {
  return store.segment("instruction", "context", "other");
}

export async function loadBars(view: View): Promise<Bars> {
  const { store } = view;
  const focus = focusOf(store);
  const { options } = store;
  const measure = focus === "answer" ? options.answerMeasure : options.tokenMeasure;
  const on = focus === "prompt token" ? "answer" : "prompt";
  if (!store.method)
    return { focus, measure, on, values: { base: null, tuned: null }, scores: null };
  const values = await bySide((side) => barsOf(view, side, focus));
  const scores = focus === "answer" ? await scoresOf(view) : null;
  return { focus, measure, on, values, scores };
}

async function barsOf(view: View, side: Side, focus: Focus): Promise<Float64Array | null> {
  const { store } = view;
  const { options, selection } = store;
  const scored = scoredTokens(store);
  const m = store.answer(side).tokens.length;
  if (m === 0) return null;
  if (focus === "answer token") {
    const column = selection.token - store.promptLength;
    if (column >= m) return null;
    const effects = await effectsOn(view, side, column);
    if (options.tokenMeasure === "effect") return Float64Array.from(effects);
    return cut(levels(effects, 1, options.density.levels, scored), options.pictureThreshold);
  }
  const all = await matrix(view, side);
  if (focus === "prompt token") {
    if (options.tokenMeasure === "effect") return Float64Array.from(row(all, selection.token));
    const level = levels(all.data, m, options.density.levels, scored);
    return cut(
      level.slice(selection.token * m, (selection.token + 1) * m),
      options.pictureThreshold,
    );
  }
  if (options.answerMeasure === "density") return density(all.data, m, options.density, scored);
  if (options.answerMeasure === "effect") return rowMeans(all.data, m);
  const level = levels(all.data, m, options.density.levels, scored);
  return rowMeans(cut(level, options.pictureThreshold), m);
}

/** The paper's instruction score of both models, with the normalisation that is set. */
async function scoresOf(view: View): Promise<BySide<number> | null> {
  const { store } = view;
  const instruction = store.segment("instruction");
  if (instruction.length === 0) return null;
  return bySide(async (side) => {
    const m = store.answer(side).tokens.length;
    if (m === 0) return 0;
    const all = await matrix(view, side);
    const values = density(all.data, m, store.options.density, scoredTokens(store));
    return instructionScore(values, instruction);
  });
}

function matrix(view: View, side: Side): Promise<Tensor> {
  return view.block<Tensor>(`saliency/${side}/${view.store.method!.name}`);
}

/** One column: cut from the whole matrix where that is at hand, else asked for alone. */
async function effectsOn(view: View, side: Side, column: number): Promise<Numbers> {
  const key = `saliency/${side}/${view.store.method!.name}`;
  if (!view.store.has(key)) return (await view.block<Tensor>(`${key}/${column}`)).data;
  const { shape, data } = await view.block<Tensor>(key);
  const [rows, width] = shape as [number, number];
  return Float64Array.from({ length: rows }, (_, n) => data[n * width + column]!);
}

function cut(level: Float64Array, threshold: number): Float64Array {
  return level.map((value) => (value > threshold ? value : 0));
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
  const key = `activations/tuned/${layer}/base_components`;
  const { data, shape } = await view.block<Tensor>(key);
  const [length, width] = shape as [number, number];
  const tuned = Float64Array.from({ length }, (_, t) => data[t * width + component]!);
  const name = `along base’s direction of concept ${component}, in both`;
  return { name, values: { base, tuned }, skip: [] };
}

async function attentionTrack(view: View, layer: number, head: number): Promise<Track> {
  const { store } = view;
  const { token } = store.selection;
  const values = await bySide(async (side) => {
    const { data, shape } = await view.block<Tensor>(`attention/${side}/${layer}/${head}`);
    const width = shape[1]!;
    if (token < 0) return meanRows(data, width, Math.max(store.promptLength - 1, 0), width - 1);
    return store.reading < width
      ? data.subarray(store.reading * width, (store.reading + 1) * width)
      : [];
  });
  const skip = store.options.setSinkAside ? [0] : [];
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
    return (await view.block<Tensor>(`activations/${side}/${layer}/neuron/${index}`)).data;
  }
  const { data, shape } = await view.block<Tensor>(`activations/${side}/${layer}/components`);
  const [length, width] = shape as [number, number];
  return Float64Array.from({ length }, (_, t) => data[t * width + index] ?? Number.NaN);
}
