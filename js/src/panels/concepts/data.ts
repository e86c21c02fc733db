// What the concepts panel shows for a selection: a layer, one unit of it, and its words by zone.

import {
  type BySide,
  type ComponentEnds,
  type HandLabel,
  keys,
  type MatchedComponent,
  SIDES,
  type Word,
} from "../../contract/contract.ts";
import { parseUnit, unitName } from "../../contract/units.ts";
import type { Store } from "../../core/store.ts";
import { bySide, type Numbers, row } from "../../maths/numbers.ts";
import type { View } from "../../shell/frame.ts";

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
  /** Share of the variance of the layer's value vectors, of components only. */
  explained: BySide<number> | null;
  angle: number | null;
  activations: BySide<number | undefined> | null;
}

export interface Concepts {
  layer: number;
  unit: string;
  chosen: boolean;
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
}

export type BySign<T> = Record<"positive" | "negative", T>;

/** Words drawn of each model's list. */
const LONGEST = 36;
/** The same of each end by itself. */
const LONGEST_END = 20;

/** Components that count as leading, by share of variance. */
const LEADING = 10;

export async function loadConcepts(view: View, apart = false): Promise<Concepts> {
  const { store } = view;
  const layer = await layerOf(view);
  // Recordings list neurons of answer tokens only.
  const prompt = store.selection.token < store.promptLength;
  const [components, activity, neurons] = await Promise.all([
    view.block(keys.components(layer)),
    store.reading < 0 ? null : view.optional(bySide((side) => componentsAt(view, side, layer))),
    view.optional(loadNeurons(view, layer), prompt),
  ]);
  const rows = sorted(
    components.map((component, k) => componentRow(store, layer, component, k, activity)),
  );
  const chosen = store.selection.unit !== "";
  const unit = chosen ? store.selection.unit : (rows[0]?.unit ?? "");
  const parsed = parseUnit(unit);
  const shared = {
    layer,
    unit,
    chosen,
    matched: components,
    components: rows,
    neurons: neurons ?? [],
  };
  if (parsed?.kind === "neuron") {
    const neuron = await view.block(keys.neuronWords(layer, parsed.index));
    return {
      ...shared,
      ...drawn(neuron.base.words, neuron.tuned.words, apart ? undefined : null),
      cosine: neuron.cosine,
      angle: (Math.acos(Math.min(Math.max(neuron.cosine, -1), 1)) * 180) / Math.PI,
      explained: null,
    };
  }
  const k = parsed?.index ?? 0;
  const component = components[k];
  if (!component) throw new Error(`Layer ${layer} has no ${unitName(unit) || "concepts"}.`);
  const ends = apart
    ? (await view.optional(view.block(keys.componentEnds(layer)), true))?.[k]
    : null;
  return {
    ...shared,
    ...drawn(component.base.words, component.tuned.words, ends),
    cosine: component.cosine,
    angle: component.angle,
    explained: { base: component.base.explained, tuned: component.tuned.explained },
  };
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

/**
 * The selected layer, else the one of the upper half whose components turned most: the lower layers
 * seldom speak in words of the output.
 */
async function layerOf(view: View): Promise<number> {
  const { layer } = view.store.selection;
  if (layer >= 0) return layer;
  const { data } = await view.block(keys.componentChange());
  let best = data.length >> 1;
  for (let i = best; i < data.length; i++) if (data[i]! > data[best]!) best = i;
  return best;
}

async function componentsAt(view: View, side: "base" | "tuned", layer: number): Promise<Numbers> {
  const tensor = await view.block(keys.componentActivations(side, layer));
  return view.store.reading < tensor.shape[0]! ? row(tensor, view.store.reading) : [];
}

async function loadNeurons(view: View, layer: number): Promise<UnitRow[]> {
  const { token } = view.store.selection;
  if (token < 0) return [];
  const list = await view.block(keys.neurons(layer, token));
  return list.map(({ neuron, base, tuned }) => ({
    unit: `neuron:${neuron}`,
    name: unitName(`neuron:${neuron}`),
    given: "",
    explained: null,
    angle: null,
    activations: { base: base ?? undefined, tuned: tuned ?? undefined },
  }));
}

function componentRow(
  store: Store,
  layer: number,
  component: MatchedComponent,
  k: number,
  activity: BySide<Numbers> | null,
): UnitRow {
  return {
    unit: `component:${k}`,
    name: unitName(`component:${k}`),
    given: labelOf(store, layer, k, component).name,
    explained: { base: component.base.explained, tuned: component.tuned.explained },
    angle: component.angle,
    activations: activity && { base: activity.base[k], tuned: activity.tuned[k] },
  };
}

/**
 * Most active first where a token is selected; else the leading components, most turned first, then
 * the rest by rank: a small component turns far with little to say.
 */
function sorted(rows: UnitRow[]): UnitRow[] {
  const activity = ({ activations }: UnitRow) =>
    Math.max(...SIDES.map((side) => Math.abs(activations?.[side] ?? 0)));
  if (rows[0]?.activations) return rows.sort((a, b) => activity(b) - activity(a));
  const leading = rows.slice(0, LEADING).sort((a, b) => (b.angle ?? 0) - (a.angle ?? 0));
  return [...leading, ...rows.slice(LEADING)];
}

/** Label by hand of a component, else what the trace calls it. */
export function labelOf(
  store: Store,
  layer: number,
  k: number,
  component?: MatchedComponent,
): HandLabel {
  const hand = store.labels[`${layer}/${k}`];
  if (hand) return hand;
  return { name: component?.name ?? "", labels: component?.labels ?? [] };
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
    const other = inTuned.get(text);
    words.push(
      other === undefined
        ? { text, zone: "base", scores: { base: score } }
        : { text, zone: "both", scores: { base: score, tuned: other } },
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

export function stepLayer(store: Store, shown: number, step: number): void {
  const last = store.manifest.pair.layers - 1;
  store.select({ layer: Math.min(Math.max(shown + step, 0), last) });
}
