// What the heads panel shows for a selection: one number per head, and the head it looks into.

import {
  type BySide,
  headMeasures,
  type Key,
  keys,
  SIDES,
  type Side,
} from "../../contract/contract.ts";
import type { Tensor } from "../../contract/decode.ts";
import { type Got, type Need, quiet, required, take } from "../../core/load.ts";
import type { HeadColumn } from "../../core/options.ts";
import type { State } from "../../core/state.ts";
import { once } from "../../maths/memo.ts";
import { difference, eachSide, meanRows, type Numbers, row } from "../../maths/numbers.ts";
import type { Row } from "../../shell/frame.ts";
import { type ExactEffects, effectKeys, effectsOf, exactKeys } from "./effects_data.ts";
import {
  type Change,
  focusReading,
  focusToken,
  headAt,
  isChange,
  MEASURES,
  type Measure,
  measureOf,
  measures,
  type RowMeasure,
} from "./measures.ts";
import { pairsComputed } from "./pairs_data.ts";

/** One number per head, [layers, heads] flattened. */
export interface HeadNumbers {
  measure: Measure;
  /** NaN where there is none: a change has nothing of one model alone. */
  values: Record<HeadColumn, Numbers>;
  thirdIs: "tuned − base" | "change" | "gained";
  /** Exact effects where they are known, beside effects. */
  exact: BySide<Numbers> | null;
  /** Why the wanted measure is not the one shown. */
  instead: string;
}

/** The head the panel looks into. */
export interface ShownHead {
  layer: number;
  head: number;
  /** Chosen by the user, or the head that changed most. */
  chosen: boolean;
  /** Of its pattern, averaged over the positions both models share, in bits. */
  change: number;
}

export interface Maps extends ShownHead {
  /** Attention patterns, T x T of each side. */
  values: BySide<Numbers>;
  /** tuned - base over the positions both share, C x C; worked out when it is asked for. */
  third(): Numbers;
  side: Record<HeadColumn, number>;
  /** The row of the selected token; -1 with none. */
  reading: number;
  /** Whether the first token's column is left out. */
  skipFirst: boolean;
}

/** Columns of `word_pairs/counts`: pairs of a head that only tuned, both, or only base holds. */
const [GAINED, KEPT, LOST] = [0, 1, 2];
/** Columns of `heads/circuits`. */
const CIRCUITS = { query_key: 0, value_output: 2 } as const;
/** What every trace has; without these there is nothing to show instead. */
const CORE: readonly Measure[] = ["change", "instruction", "received", "sink"];

/** Blocks of the measure that is shown; those of the next best where the wanted one fails. */
export function numbersNeeds(state: State, got: Got, exact: ExactEffects): Need[] {
  const { measure } = measureShown(state, got, exact);
  return [
    ...(CORE.includes(measure) ? required : quiet)(...blocksOf(state, measure)),
    ...quiet(...(measure === "effect" || measure === "exact" ? exactKeys(state) : [])),
  ];
}

export function numbersOf(state: State, got: Got, exact: ExactEffects): HeadNumbers {
  const { measure, instead } = measureShown(state, got, exact);
  const shared = { measure, instead, exact: null };
  const sided = (values: BySide<Numbers>): HeadNumbers => ({
    ...shared,
    values: { ...values, third: difference(values) },
    thirdIs: "tuned − base",
  });
  if (measure === "pairs") {
    const counts = take(got(keys.wordPairCounts()));
    const values = {
      base: every(counts, (head) => head[KEPT]! + head[LOST]!),
      tuned: every(counts, (head) => head[KEPT]! + head[GAINED]!),
      third: every(counts, (head) => head[GAINED]!),
    };
    return { ...shared, values, thirdIs: "gained" };
  }
  if (measure === "effect" || measure === "exact") {
    const { values, any } = exact.known(state, got);
    const shown = measure === "effect" ? effectsOf(state, got) : values;
    return { ...sided(shown), exact: any ? values : null };
  }
  if (isChange(measure)) {
    const third = changeNumbers(state, got, measure);
    const nothing = new Float64Array(third.length).fill(Number.NaN);
    return { ...shared, values: { base: nothing, tuned: nothing, third }, thirdIs: "change" };
  }
  return sided(
    eachSide((side) => sideNumbers(state, measure, take(got(sideKey(state, measure, side))))),
  );
}

/** The wanted measure, or one that every trace has and why the wanted one is not there. */
function measureShown(
  state: State,
  got: Got,
  exact: ExactEffects,
): { measure: Measure; instead: string } {
  const measure = measureOf(state);
  const reason = CORE.includes(measure) ? undefined : reasonAgainst(state, got, exact, measure);
  if (reason === undefined) return { measure, instead: "" };
  return {
    measure: measures(state).find((possible) => CORE.includes(possible))!,
    instead: `The measure “${MEASURES[measure].name}” cannot be shown here: ${reason}`,
  };
}

function reasonAgainst(
  state: State,
  got: Got,
  exact: ExactEffects,
  measure: Measure,
): string | undefined {
  if (measure === "pairs" && !pairsComputed(state)) {
    return "Word pairs are not computed yet, see “Word pairs”.";
  }
  const settled = exactKeys(state).every((key) => got(key).state !== "loading");
  if (measure === "exact" && settled && !exact.known(state, got).any) {
    const how = state.live ? "Compute some under “Effects”." : "None is recorded.";
    return `No head is measured exactly for this. ${how}`;
  }
  return blocksOf(state, measure).flatMap((key) => got(key).reason ?? [])[0];
}

/** Whether a measure can be shown at all: what a recording does not hold cannot be had. */
export function canBeHad(state: State, measure: Measure): boolean {
  if (state.live || CORE.includes(measure)) return true;
  if (measure === "exact") return exactKeys(state).some((key) => state.has(key));
  return blocksOf(state, measure).every((key) => state.has(key));
}

/** Blocks without which a measure cannot be shown. */
function blocksOf(state: State, measure: Measure): Key<Tensor>[] {
  if (measure === "pairs") return [keys.wordPairCounts()];
  if (measure === "effect") return effectKeys(state);
  if (measure === "exact") return [];
  if (isChange(measure)) return [changeKey(measure)];
  return SIDES.map((side) => sideKey(state, measure, side));
}

function sideKey({ selection }: State, measure: RowMeasure, side: Side): Key<Tensor> {
  if (measure === "write") return keys.headWrite(side, selection.layer, selection.unit);
  return headMeasures[measure](side);
}

const changeKey = (measure: Change) =>
  measure === "change" ? keys.headChange() : keys.headCircuits();

function sideNumbers(state: State, measure: RowMeasure, tensor: Tensor): Numbers {
  const { layers, heads } = state.manifest.pair;
  const token = focusToken(state);
  const rows = tensor.shape[0]!;
  if (token < 0) return meanOver(tensor, Math.max(state.promptLength - 1, 0), rows - 1);
  const at = measure === "received" ? token : state.reading;
  return at < rows ? row(tensor, at) : new Float64Array(layers * heads);
}

function changeNumbers(state: State, got: Got, measure: Change): Numbers {
  const tensor = take(got(changeKey(measure)));
  if (measure !== "change") return every(tensor, (head) => head[CIRCUITS[measure]]!);
  const at = focusReading(state);
  return at >= 0 && at < tensor.shape[0]! ? row(tensor, at) : meanChange(tensor);
}

/** Change of each head's pattern, averaged over the positions both models share. */
const meanChange = (tensor: Tensor) => meanOver(tensor, 0, tensor.shape[0]!);

const MEANS = new WeakMap<Tensor, { from: number; to: number; mean: Numbers }>();

/** Mean over some positions; of a long text it has a million numbers, so it is made once. */
function meanOver(tensor: Tensor, from: number, to: number): Numbers {
  let made = MEANS.get(tensor);
  if (made?.from !== from || made.to !== to) {
    const { shape, data } = tensor;
    made = { from, to, mean: meanRows(data, data.length / (shape[0] || 1), from, to) };
    MEANS.set(tensor, made);
  }
  return made.mean;
}

/** One number from the last axis of a tensor [layers, heads, columns]. */
function every({ shape, data }: Tensor, take: (row: Numbers) => number): Float64Array {
  const width = shape.at(-1)!;
  return Float64Array.from({ length: data.length / width }, (_, i) =>
    take(data.subarray(i * width, (i + 1) * width)),
  );
}

/** The selected head, or the one whose pattern changed most; undefined until that is known. */
export function shownHead(state: State, got: Got): ShownHead | undefined {
  const tensor = got(keys.headChange()).value;
  if (!tensor) return undefined;
  const { heads } = state.manifest.pair;
  const { layer, head } = state.selection;
  const change = meanChange(tensor);
  const chosen = head >= 0;
  const at = chosen ? layer * heads + head : mostChanged(change, heads, layer);
  return { ...headAt(at, heads), chosen, change: change[at]! };
}

export function mapKeys({ layer, head }: ShownHead): BySide<Key<Tensor>> {
  return eachSide((side) => keys.attention(side, layer, head));
}

/** The maps of a head; null where one of them is not there. */
export function mapsOf(state: State, got: Got, shown: ShownHead): Maps | null {
  const { base, tuned } = mapKeys(shown);
  const tensors = { base: got(base).value, tuned: got(tuned).value };
  if (!tensors.base || !tensors.tuned) return null;
  const values = { base: tensors.base.data, tuned: tensors.tuned.data };
  const common = state.commonLength;
  const side = { base: tensors.base.shape[1]!, tuned: tensors.tuned.shape[1]!, third: common };
  return {
    ...shown,
    values,
    third: once(() => thirdOf(values, side)),
    side,
    reading: focusReading(state),
    skipFirst: state.options.saliency.setSinkAside,
  };
}

function thirdOf({ base, tuned }: BySide<Numbers>, side: Record<HeadColumn, number>) {
  const { third: common, base: ofBase, tuned: ofTuned } = side;
  const third = new Float32Array(common * common);
  for (let q = 0; q < common; q++) {
    const [at, b, t] = [q * common, q * ofBase, q * ofTuned];
    for (let k = 0; k <= q; k++) third[at + k] = tuned[t + k]! - base[b + k]!;
  }
  return third;
}

/** Index of the head with the largest change, in one layer where one with heads is selected. */
export function mostChanged(change: Numbers, heads: number, layer: number): number {
  const inLayer = layer >= 0 && !Number.isNaN(change[layer * heads]!);
  const from = inLayer ? layer * heads : 0;
  const to = inLayer ? from + heads : change.length;
  let best = from;
  for (let i = from; i < to; i++) {
    if (change[i]! > change[best]! || Number.isNaN(change[best]!)) best = i;
  }
  return best;
}

/** Head by head, for a file. */
export function headTable(
  { manifest: { pair } }: State,
  { measure, values, thirdIs }: HeadNumbers,
): Row[] {
  const third = thirdIs === "tuned − base" ? "difference" : thirdIs;
  const rows = Array.from({ length: pair.layers * pair.heads }, (_, i) => {
    const { layer, head } = headAt(i, pair.heads);
    return [measure, layer, head, values.base[i]!, values.tuned[i]!, values.third[i]!];
  });
  return [["measure", "layer", "head", "base", "tuned", third], ...rows];
}
