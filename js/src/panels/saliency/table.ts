// Effects of both models, cell by cell, and which of them are measured rather than estimated.

import type { BySide, Method, Side } from "../../contract/contract.ts";
import { keys } from "../../contract/contract.ts";
import type { Tensor } from "../../contract/decode.ts";
import { EXACT, type ExactRun, exactRun, leaveOthers } from "../../core/runs.ts";
import type { Store } from "../../core/store.ts";
import { bySide, type Numbers } from "../../maths/numbers.ts";
import type { View } from "../../shell/frame.ts";

export interface Table {
  /** N rows, one for each prompt token, of `width` columns. */
  effects: Numbers;
  width: number;
  exact: ArrayLike<boolean> & { every(test: (one: boolean) => boolean): boolean };
  /** Column of an answer token. */
  place(column: number): number;
}

/** Estimates of what hiding a token does, in the same unit, best first. */
const STAND_INS = ["attention_knockout", "gradient_x_input_logprob"];

/** What is shown in a cell whose exact effect is not known yet; only occlusion has such a thing. */
export function standIn(store: Store): Method | undefined {
  if (store.method?.name !== EXACT) return undefined;
  const { methods } = store.manifest;
  return STAND_INS.map((name) => methods.find((method) => method.name === name)).find(Boolean);
}

/** The run behind the picture; null where an estimate is shown. */
export function shownRun(store: Store): ExactRun | null {
  return store.method?.exact ? exactRun(store, store.method.name) : null;
}

/** Effects by the chosen method; `single` where one answer token is enough. */
export async function loadTables(view: View, single: boolean): Promise<BySide<Table | null>> {
  const { store } = view;
  const name = store.method!.name;
  leaveOthers(store, name);
  const run = shownRun(store);
  if (run) {
    await run.look(view.block);
    const estimate = standIn(store);
    const open = run.status === "done" || !estimate;
    const estimates = open
      ? null
      : await view.optional(bySide((side) => whole(view, side, estimate.name)));
    if (run.status === "idle") run.start();
    return bySide(async (side) => mixed(store, side, run, estimates?.[side] ?? null));
  }
  return bySide(async (side) => {
    const width = store.answer(side).tokens.length;
    const column = store.selection.token - store.promptLength;
    if (width === 0) return null;
    if (single && !store.has(keys.saliency(side, name))) {
      if (column >= width) return null;
      const { data } = await view.block(keys.saliencyColumn(side, name, column));
      return { effects: data, width: 1, exact: new Array(data.length).fill(false), place: () => 0 };
    }
    const { data } = await whole(view, side, name);
    return estimated(data, width);
  });
}

function whole(view: View, side: Side, name: string): Promise<Tensor> {
  return view.block(keys.saliency(side, name));
}

function estimated(effects: Numbers, width: number): Table {
  const exact = new Array<boolean>(effects.length).fill(false);
  return { effects, width, exact, place: (column) => column };
}

/** Exact cells where they are known, the estimate in the others, NaN without either. */
export function mixed(
  store: Store,
  side: Side,
  run: ExactRun,
  estimate: Tensor | null,
): Table | null {
  const width = store.answer(side).tokens.length;
  if (width === 0) return null;
  const known = run.tables[side]?.data;
  const length = width * store.promptLength;
  const effects = Float64Array.from({ length }, (_, i) => {
    const value = known?.[i] ?? Number.NaN;
    return Number.isNaN(value) ? (estimate?.data[i] ?? Number.NaN) : value;
  });
  const exact = Array.from(effects, (_, i) => !Number.isNaN(known?.[i] ?? Number.NaN));
  return { effects, width, exact, place: (column) => column };
}
