// What the heads panel shows for a selection: one number per head, and the maps of one head.

import { bySide, difference, meanRows, type Numbers } from "../core/numbers.ts";
import { type HeadMeasure, row, type Store } from "../core/store.ts";
import type { BySide, Side, Tensor } from "../protocol.ts";
import type { View } from "./panel.ts";

export type Measure = Exclude<HeadMeasure, "auto">;

/** One number per head, [layers, heads] flattened. */
export interface HeadNumbers {
  measure: Measure;
  /** What base and tuned show; differs from `measure` only when that is the change. */
  shown: Exclude<Measure, "change">;
  values: BySide<Numbers>;
  /** tuned - base, or the change itself, in bits. */
  third: Numbers;
}

export interface Maps {
  layer: number;
  head: number;
  /** Chosen by the user, or the head that changed most. */
  chosen: boolean;
  /** Attention patterns, T x T of each side. */
  values: BySide<Numbers>;
  side: BySide<number>;
  /** tuned - base over the positions both share, C x C. */
  third: Float64Array;
  common: number;
  change: number;
}

/** What can be shown for the selection, the natural one first. */
export function measures(store: Store): Measure[] {
  const { token, unit } = store.selection;
  const list: Measure[] = [];
  if (unit) list.push("write");
  if (token < 0) list.push("change");
  if (token >= 0 && token < store.promptLength) list.push("received");
  if (store.segment("instruction").length) list.push("instruction");
  if (token >= 0) list.push("change");
  list.push("sink");
  return list;
}

export function measureOf(store: Store): Measure {
  const possible = measures(store);
  const wanted = store.options.headMeasure;
  return possible.find((one) => one === wanted) ?? possible[0]!;
}

export async function loadHeads(view: View): Promise<HeadNumbers> {
  const measure = measureOf(view.store);
  if (measure !== "write") return headNumbers(view, measure);
  // What heads write is recorded for some units only; then the next best is shown.
  const written = await view.optional(headNumbers(view, measure), true);
  const [next] = measures(view.store).filter((one) => one !== "write");
  return written ?? headNumbers(view, next!);
}

async function headNumbers(view: View, measure: Measure): Promise<HeadNumbers> {
  const instruction = view.store.segment("instruction").length > 0;
  const shown = measure !== "change" ? measure : instruction ? "instruction" : "sink";
  const [values, change] = await Promise.all([
    bySide((side) => sideNumbers(view, shown, side)),
    measure === "change" ? changeNumbers(view) : null,
  ]);
  return { measure, shown, values, third: change ?? difference(values) };
}

async function sideNumbers(
  view: View,
  measure: Exclude<Measure, "change">,
  side: Side,
): Promise<Numbers> {
  const { store } = view;
  const { token, layer, unit } = store.selection;
  const key =
    measure === "write" ? `heads/write/${side}/${layer}/${unit}` : `heads/${measure}/${side}`;
  const tensor = await view.block<Tensor>(key);
  const width = store.manifest.pair.layers * store.manifest.pair.heads;
  const rows = tensor.shape[0]!;
  if (token < 0) return meanRows(tensor.data, width, Math.max(store.promptLength - 1, 0), rows - 1);
  const at = measure === "received" ? token : store.reading;
  return at < rows ? row(tensor, at) : new Float64Array(width);
}

async function changeNumbers(view: View): Promise<Numbers> {
  const { store } = view;
  const tensor = await view.block<Tensor>("heads/change");
  const rows = tensor.shape[0]!;
  if (store.reading >= 0 && store.reading < rows) return row(tensor, store.reading);
  return meanRows(tensor.data, store.manifest.pair.layers * store.manifest.pair.heads, 0, rows);
}

export async function loadMaps(view: View): Promise<Maps> {
  const { store } = view;
  const tensor = await view.block<Tensor>("heads/change");
  const { layers, heads } = store.manifest.pair;
  const change = meanRows(tensor.data, layers * heads, 0, tensor.shape[0]!);
  const chosen = store.selection.head >= 0;
  const at = chosen
    ? store.selection.layer * heads + store.selection.head
    : mostChanged(change, heads, store.selection.layer);
  const layer = Math.floor(at / heads);
  const head = at % heads;
  const tensors = await bySide((side) => view.block<Tensor>(`attention/${side}/${layer}/${head}`));
  const values = { base: tensors.base.data, tuned: tensors.tuned.data };
  const side = { base: tensors.base.shape[1]!, tuned: tensors.tuned.shape[1]! };
  const common = store.commonLength;
  const third = new Float64Array(common * common);
  for (let q = 0; q < common; q++) {
    for (let k = 0; k <= q; k++) {
      third[q * common + k] = values.tuned[q * side.tuned + k]! - values.base[q * side.base + k]!;
    }
  }
  return { layer, head, chosen, values, side, third, common, change: change[at]! };
}

/** Index of the head with the largest change, in one layer where one is selected. */
function mostChanged(change: Numbers, heads: number, layer: number): number {
  const from = layer < 0 ? 0 : layer * heads;
  const to = layer < 0 ? change.length : from + heads;
  let best = from;
  for (let i = from; i < to; i++) if (change[i]! > change[best]!) best = i;
  return best;
}
