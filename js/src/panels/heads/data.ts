import { headMeasures } from "../../contract/contract.ts";
// What the heads panel shows for a selection: one number per head, and the head it looks into.

import type { BySide, Side } from "../../contract/contract.ts";
import { keys } from "../../contract/contract.ts";
import type { Tensor } from "../../contract/decode.ts";
import { attempt } from "../../core/load.ts";
import { bySide, difference, meanRows, type Numbers, row } from "../../maths/numbers.ts";
import type { View } from "../../shell/frame.ts";
import { type ExactEffects, loadEffects } from "./effects_data.ts";
import {
  focusReading,
  focusToken,
  isChange,
  MEASURES,
  type Measure,
  measureOf,
  measures,
  type SideMeasure,
} from "./measures.ts";

/** One number per head, [layers, heads] flattened. */
export interface HeadNumbers {
  measure: Measure;
  /** What base and tuned show; differs from `measure` only where that is a change. */
  shown: SideMeasure;
  /** NaN where there is none. */
  values: BySide<Numbers>;
  third: Numbers;
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
  side: BySide<number>;
  /** tuned - base over the positions both share, C x C. */
  third: Float64Array;
  common: number;
}

/** Columns of `word_pairs/counts`: pairs of a head that only tuned, both, or only base holds. */
const [GAINED, KEPT, LOST] = [0, 1, 2];
/** Columns of `heads/circuits`. */
const CIRCUITS = { query_key: 0, value_output: 2 } as const;
/** What every trace has; without these there is nothing to show instead. */
const CORE: readonly Measure[] = ["change", "instruction", "received", "sink"];

export async function loadHeads(view: View, exact: ExactEffects): Promise<HeadNumbers> {
  const wanted = measureOf(view.store);
  if (CORE.includes(wanted)) return headNumbers(view, wanted, exact);
  const found = await attempt(view, headNumbers(view, wanted, exact));
  if (found.value) return found.value;
  const next = measures(view.store).find((one) => CORE.includes(one))!;
  const name = MEASURES[wanted].name;
  const instead = `The measure “${name}” cannot be shown here: ${found.reason}`;
  return { ...(await headNumbers(view, next, exact)), instead };
}

async function headNumbers(
  view: View,
  measure: Measure,
  exact: ExactEffects,
): Promise<HeadNumbers> {
  const plain = { measure, exact: null, instead: "", thirdIs: "tuned − base" as const };
  if (measure === "pairs") return pairNumbers(view);
  if (measure === "effect" || measure === "exact") {
    const [effects, measured] = await Promise.all([
      measure === "effect" ? loadEffects(view) : null,
      exact.load(view),
    ]);
    if (!effects && !measured.any) {
      const how = view.store.live ? "Compute some under “Effects”." : "None is recorded.";
      throw new Error(`No head is measured exactly for this. ${how}`);
    }
    const values = effects ?? measured.values;
    return {
      ...plain,
      shown: measure,
      values,
      third: difference(values),
      exact: measured.any ? measured.values : null,
    };
  }
  if (!isChange(measure)) {
    const values = await bySide((side) => sideNumbers(view, measure, side));
    return { ...plain, shown: measure, values, third: difference(values) };
  }
  const shown = view.store.segment("instruction").length > 0 ? "instruction" : "sink";
  const [values, third] = await Promise.all([
    bySide((side) => sideNumbers(view, shown, side)),
    measure === "change" ? changeNumbers(view) : circuitNumbers(view, CIRCUITS[measure]),
  ]);
  return { ...plain, shown, values, third, thirdIs: "change" };
}

async function sideNumbers(view: View, measure: SideMeasure, side: Side): Promise<Numbers> {
  const { store } = view;
  const { layer, unit } = store.selection;
  const token = focusToken(store);
  const tensor = await view.block(
    measure === "write"
      ? keys.headWrite(side, layer, unit)
      : headMeasures[measure as keyof typeof headMeasures](side),
  );
  const width = store.manifest.pair.layers * store.manifest.pair.heads;
  const rows = tensor.shape[0]!;
  if (token < 0) return meanRows(tensor.data, width, Math.max(store.promptLength - 1, 0), rows - 1);
  const at = measure === "received" ? token : store.reading;
  return at < rows ? row(tensor, at) : new Float64Array(width);
}

async function changeNumbers(view: View): Promise<Numbers> {
  const { pair } = view.store.manifest;
  const tensor = await view.block(keys.headChange());
  const rows = tensor.shape[0]!;
  const at = focusReading(view.store);
  if (at >= 0 && at < rows) return row(tensor, at);
  return meanRows(tensor.data, pair.layers * pair.heads, 0, rows);
}

async function circuitNumbers(view: View, column: number): Promise<Numbers> {
  return every(await view.block(keys.headCircuits()), (head) => head[column]!);
}

async function pairNumbers(view: View): Promise<HeadNumbers> {
  if (view.store.live && !view.store.has(keys.wordPairInfo())) {
    throw new Error("Word pairs are not computed yet, see “Word pairs”.");
  }
  const counts = await view.block(keys.wordPairCounts());
  return {
    measure: "pairs",
    shown: "pairs",
    values: {
      base: every(counts, (head) => head[KEPT]! + head[LOST]!),
      tuned: every(counts, (head) => head[KEPT]! + head[GAINED]!),
    },
    third: every(counts, (head) => head[GAINED]!),
    thirdIs: "gained",
    exact: null,
    instead: "",
  };
}

/** One number from the last axis of a tensor [layers, heads, columns]. */
function every({ shape, data }: Tensor, take: (row: Numbers) => number): Float64Array {
  const width = shape.at(-1)!;
  return Float64Array.from({ length: data.length / width }, (_, i) =>
    take(data.subarray(i * width, (i + 1) * width)),
  );
}

/** The selected head, or the one whose pattern changed most. */
export async function loadShown(view: View): Promise<ShownHead> {
  const { store } = view;
  const tensor = await view.block(keys.headChange());
  const { layers, heads } = store.manifest.pair;
  const change = meanRows(tensor.data, layers * heads, 0, tensor.shape[0]!);
  const chosen = store.selection.head >= 0;
  const at = chosen
    ? store.selection.layer * heads + store.selection.head
    : mostChanged(change, heads, store.selection.layer);
  return { layer: Math.floor(at / heads), head: at % heads, chosen, change: change[at]! };
}

export async function loadMaps(view: View, shown: ShownHead): Promise<Maps> {
  const { layer, head } = shown;
  const tensors = await bySide((side) => view.block(keys.attention(side, layer, head)));
  const values = { base: tensors.base.data, tuned: tensors.tuned.data };
  const side = { base: tensors.base.shape[1]!, tuned: tensors.tuned.shape[1]! };
  const common = view.store.commonLength;
  const third = new Float64Array(common * common);
  for (let q = 0; q < common; q++) {
    for (let k = 0; k <= q; k++) {
      third[q * common + k] = values.tuned[q * side.tuned + k]! - values.base[q * side.base + k]!;
    }
  }
  return { ...shown, values, side, third, common };
}

/** Index of the head with the largest change, in one layer where one is selected. */
function mostChanged(change: Numbers, heads: number, layer: number): number {
  const from = layer < 0 ? 0 : layer * heads;
  const to = layer < 0 ? change.length : from + heads;
  let best = from;
  for (let i = from; i < to; i++) if (change[i]! > change[best]!) best = i;
  return best;
}
