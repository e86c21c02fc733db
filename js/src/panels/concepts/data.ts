// What the concepts panel shows for a selection: a layer, one unit of it, and its words by zone; what
// every tab beside the words has in common. Which units mattered at the selected token is estimated at
// once, then measured.

import {
  type BySide,
  type ComponentEnds,
  type HandLabel,
  keys,
  type MatchedComponent,
  SIDES,
  type UnitEffect,
  type Word,
} from "../../contract/contract.ts";
import type { Tensor } from "../../contract/decode.ts";
import { parseUnit, unitName } from "../../contract/units.ts";
import { attempt, type Got, type Need, optional, quiet, required, take } from "../../core/load.ts";
import type { State } from "../../core/state.ts";
import { type Numbers, row } from "../../maths/numbers.ts";
import type { PanelSetting, Picture } from "../../shell/frame.ts";

export const ZONES = ["base", "both", "tuned"] as const;
export type ZoneName = (typeof ZONES)[number];

export interface ZonedWord {
  text: string;
  zone: ZoneName;
  scores: Partial<BySide<number>>;
}

export interface UnitRow {
  unit: string;
  name: string;
  /** What people call it, of labelled components only. */
  given: string;
  /** Why it says little; empty where it does not, and of neurons. */
  doubt: string;
  /** Share of the variance of the layer's value vectors, of components only. */
  explained: BySide<number> | null;
  angle: number | null;
  activations: BySide<number | undefined> | null;
  /** What the selected token loses without it, nats. */
  effects: BySide<number | undefined> | null;
}

export interface Concepts {
  layer: number;
  unit: string;
  chosen: boolean;
  /** What the component is called; null for a neuron. */
  label: HandLabel | null;
  /** The words drawn, and how many there are beyond them. */
  words: ZonedWord[];
  more: number;
  /** The words of each end, where these are to be drawn apart. */
  ends: BySign<ZonedWord[]> | null;
  cosine: number;
  angle: number;
  explained: BySide<number> | null;
  /** The layer's components as the trace has them, and as rows of a list, most telling first. */
  matched: MatchedComponent[];
  components: UnitRow[];
  neurons: UnitRow[];
  /** Whether effects are measured; null where there are none. */
  measured: boolean | null;
}

export type BySign<T> = Record<"positive" | "negative", T>;

/** Words drawn of each model's list. */
const LONGEST = 36;
/** The same of each end by itself. */
const LONGEST_END = 20;

/** Components that count as leading, by share of variance. */
const LEADING = 10;

/**
 * The selected layer, else the one of the upper half whose components turned most: the lower layers
 * seldom speak in words of the output. Undefined while that is on its way.
 */
export function layerOf({ selection: { layer } }: State, got: Got): number | undefined {
  if (layer >= 0) return layer;
  const data = got(keys.componentChange()).value?.data;
  if (!data) return undefined;
  let most = data.length >> 1;
  for (let i = most; i < data.length; i++) if (data[i]! > data[most]!) most = i;
  return most;
}

export function conceptsNeeds(state: State, layer: number): Need[] {
  const { token, unit } = state.selection;
  const parsed = parseUnit(unit);
  const needs = required(keys.components(layer));
  if (token >= 0) {
    needs.push(...optional(...SIDES.map((side) => keys.componentActivations(side, layer))));
    // Recordings list neurons at some places only.
    const list = state.live && token >= state.promptLength ? optional : quiet;
    needs.push(...list(keys.neurons(layer, token)), ...matteredNeeds(state, layer));
  }
  if (parsed?.kind === "neuron") needs.push(...required(keys.neuronWords(layer, parsed.index)));
  else if (areApart(state)) needs.push(...quiet(keys.componentEnds(layer)));
  return needs;
}

export function conceptsOf(state: State, got: Got, mattered: Mattered | null = null): Concepts {
  const layer = layerOf(state, got)!;
  const matched = take(got(keys.components(layer)));
  const activity = activityOf(state, got, layer);
  const components = sorted(
    matched.map((component, k) => ({
      ...componentRow(state, layer, component, k, activity),
      effects: mattered?.effects.get(`component:${k}`) ?? null,
    })),
  );
  const chosen = state.selection.unit !== "";
  // What says little never opens the panel.
  const first = components.find(({ doubt }) => !doubt) ?? components[0];
  const unit = chosen ? state.selection.unit : (first?.unit ?? "");
  const parsed = parseUnit(unit);
  const neurons = neuronRows(state, got, layer, mattered);
  const measured = mattered?.measured ?? null;
  const shared = { layer, unit, chosen, matched, components, neurons, measured };
  if (parsed?.kind === "neuron") {
    const { base, tuned, cosine } = take(got(keys.neuronWords(layer, parsed.index)));
    return {
      ...shared,
      ...drawn(base.words, tuned.words, areApart(state) ? undefined : null),
      label: null,
      cosine,
      angle: (Math.acos(Math.min(Math.max(cosine, -1), 1)) * 180) / Math.PI,
      explained: null,
    };
  }
  const k = parsed?.index ?? 0;
  const component = matched[k];
  if (!component) throw new Error(`Layer ${layer} has no ${unitName(unit) || "concepts"}.`);
  const { base, tuned, cosine, angle } = component;
  const ends = areApart(state) ? got(keys.componentEnds(layer)).value?.[k] : null;
  return {
    ...shared,
    ...drawn(base.words, tuned.words, ends),
    label: labelOf(state, layer, k, component),
    cosine,
    angle,
    explained: { base: base.explained, tuned: tuned.explained },
  };
}

function areApart({ options }: State): boolean {
  return options.concepts.ends === "apart";
}

/**
 * The words to draw: of the whole unit where `ends` is null, else of each end; where the trace has
 * no lists of the ends, the unit's own list is parted by sign.
 */
function drawn(
  base: Word[],
  tuned: Word[],
  ends: ComponentEnds | null | undefined,
): Pick<Concepts, "words" | "more" | "ends"> {
  if (ends === null) return { ...zoned(base, tuned), ends: null };
  const part = (words: Word[], sign: 1 | -1) => words.filter(([, score]) => score * sign > 0);
  const positive = ends
    ? zoned(ends.base.positive, ends.tuned.positive, LONGEST_END)
    : zoned(part(base, 1), part(tuned, 1));
  const negative = ends
    ? zoned(ends.base.negative, ends.tuned.negative, LONGEST_END)
    : zoned(part(base, -1), part(tuned, -1));
  return {
    words: [...positive.words, ...negative.words],
    more: positive.more + negative.more,
    ends: { positive: positive.words, negative: negative.words },
  };
}

/** Of every component where the selected token is read; null without a token. */
function activityOf({ reading }: State, got: Got, layer: number): BySide<Numbers> | null {
  const [base, tuned] = SIDES.map((side) => got(keys.componentActivations(side, layer)).value);
  if (reading < 0 || !base || !tuned) return null;
  const at = (tensor: Tensor) => (reading < tensor.shape[0]! ? row(tensor, reading) : []);
  return { base: at(base), tuned: at(tuned) };
}

function neuronRows(
  { selection: { token } }: State,
  got: Got,
  layer: number,
  mattered: Mattered | null,
): UnitRow[] {
  const list = token < 0 ? [] : (got(keys.neurons(layer, token)).value ?? []);
  const active = new Map(
    list.map(({ neuron, base, tuned }) => [
      `neuron:${neuron}`,
      { base: base ?? undefined, tuned: tuned ?? undefined },
    ]),
  );
  const listed = [...(mattered?.effects.keys() ?? [])].filter((unit) => unit.startsWith("neuron"));
  const rows = [...new Set([...listed, ...active.keys()])].map((unit) => ({
    ...{ unit, name: unitName(unit), given: "", doubt: "", explained: null, angle: null },
    activations: active.get(unit) ?? null,
    effects: mattered?.effects.get(unit) ?? null,
  }));
  return mattered ? sorted(rows) : rows;
}

function componentRow(
  state: State,
  layer: number,
  component: MatchedComponent,
  k: number,
  activity: BySide<Numbers> | null,
): UnitRow {
  return {
    unit: `component:${k}`,
    name: unitName(`component:${k}`),
    given: labelOf(state, layer, k, component).name,
    doubt: component.doubt ?? "",
    explained: { base: component.base.explained, tuned: component.tuned.explained },
    angle: component.angle,
    activations: activity && { base: activity.base[k], tuned: activity.tuned[k] },
    effects: null,
  };
}

/**
 * Where a token is selected, those first that mattered most, then the most active; else the leading
 * components, those without a doubt and most turned first, then the rest by rank: a small component
 * turns far with little to say.
 */
function sorted(rows: UnitRow[]): UnitRow[] {
  const size = (values: UnitRow["effects"], none: number) =>
    values ? Math.max(...SIDES.map((side) => Math.abs(values[side] ?? 0))) : none;
  if (rows.some(({ activations, effects }) => activations || effects)) {
    return rows.sort(
      (a, b) =>
        size(b.effects, -1) - size(a.effects, -1) ||
        size(b.activations, 0) - size(a.activations, 0),
    );
  }
  const leading = rows
    .slice(0, LEADING)
    .sort(
      (a, b) => Number(a.doubt !== "") - Number(b.doubt !== "") || (b.angle ?? 0) - (a.angle ?? 0),
    );
  return [...leading, ...rows.slice(LEADING)];
}

/** Label by hand of a component, else what the trace calls it. */
function labelOf(
  { labels }: State,
  layer: number,
  k: number,
  component: MatchedComponent,
): HandLabel {
  return labels[`${layer}/${k}`] ?? { name: component.name ?? "", labels: component.labels ?? [] };
}

/** Words of both lists by zone: only base, both, only tuned. */
export function zoned(
  base: Word[],
  tuned: Word[],
  longest = LONGEST,
): { words: ZonedWord[]; more: number } {
  const inTuned = new Map(tuned.slice(0, longest));
  const inBase = new Map(base.slice(0, longest));
  const words: ZonedWord[] = [];
  for (const [text, score] of inBase) {
    const partner = inTuned.get(text);
    words.push(
      partner === undefined
        ? { text, zone: "base", scores: { base: score } }
        : { text, zone: "both", scores: { base: score, tuned: partner } },
    );
  }
  for (const [text, score] of inTuned) {
    if (!inBase.has(text)) words.push({ text, zone: "tuned", scores: { tuned: score } });
  }
  const rest = [...base.slice(longest), ...tuned.slice(longest)].map(([text]) => text);
  const drawn = new Set(words.map((word) => word.text));
  return { words, more: new Set(rest.filter((text) => !drawn.has(text))).size };
}

/** The number a word is drawn with: mean of the scores it has. */
export function scoreOf({ scores }: ZonedWord): number {
  const { base, tuned } = scores;
  if (base !== undefined && tuned !== undefined) {
    return ((Math.abs(base) + Math.abs(tuned)) / 2) * (Math.sign(base) || 1);
  }
  return base ?? tuned ?? 0;
}

/** One of the tabs; what it needs and shows is said as by a panel, of the shown layer. */
export interface Sheet {
  el: HTMLElement;
  /** Whether it shows one layer, to step through. */
  layered: boolean;
  needs(state: State, got: Got, layer: number): readonly Need[];
  picture(state: State, got: Got, concepts: Concepts): Picture;
}

export interface Mattered {
  measured: boolean;
  /** What the token loses without a unit where it is read, nats. */
  effects: ReadonlyMap<string, BySide<number | undefined>>;
}

/** Milliseconds for which a token stays selected before the models work on it. */
const PAUSE = 300;

/** What is recorded, or was asked for before. */
export function matteredNeeds(state: State, layer: number): Need[] {
  const { token } = state.selection;
  const key = keys.unitEffects(layer, token);
  return token >= 0 && state.has(key) ? quiet(key) : [];
}

/**
 * Of a layer, at the selected token; null while nothing is known. With models the estimate comes
 * first, and the panel runs again for either; what is no longer looked at is stopped.
 */
export function matteredOf({
  store,
  signal,
  refresh,
}: PanelSetting): (state: State, got: Got, layer: number) => Mattered | null {
  let run: { place: string; stop: AbortController; found: Mattered | null } | null = null;

  const start = async (layer: number, token: number) => {
    const mine = { place: `${layer}/${token}`, stop: new AbortController(), found: null };
    const now: NonNullable<typeof run> = mine;
    run?.stop.abort();
    run = now;
    const both = AbortSignal.any([signal, now.stop.signal]);
    const ask = async (measured: boolean) => {
      const key = (measured ? keys.unitEffects : keys.unitEstimates)(layer, token);
      const { value } = await attempt({ signal: both }, store.block(key, both));
      if (!value) return;
      now.found = foundIn(value, measured);
      refresh();
    };
    // What is quick comes first, and who steps along the tokens asks for none of it.
    await new Promise((done) => setTimeout(done, PAUSE));
    both.throwIfAborted();
    await ask(false);
    await ask(true);
  };

  return (state, got, layer) => {
    const { token } = state.selection;
    if (token < 0) return null;
    const key = keys.unitEffects(layer, token);
    const known = got(key).value;
    if (known) return foundIn(known, true);
    if (!state.live || state.lacks(key)) return null;
    if (run?.place !== `${layer}/${token}`) start(layer, token).catch(() => {}); // stopped
    return run!.found;
  };
}

function foundIn(rows: readonly UnitEffect[], measured: boolean): Mattered {
  const effects = rows.map(
    ({ unit, base, tuned }) =>
      [unit, { base: base ?? undefined, tuned: tuned ?? undefined }] as const,
  );
  return { measured, effects: new Map(effects) };
}
