// Effects of both models, cell by cell, and which of them are measured rather than estimated.

import type { BySide, Method, Side } from "../../contract/contract.ts";
import { EXACT, keys, SIDES } from "../../contract/contract.ts";
import type { Tensor } from "../../contract/decode.ts";
import { both, type Got, type Need, optional, quiet, required, take } from "../../core/load.ts";
import { complete, type ExactRun, exactRun } from "../../core/runs.ts";
import type { State } from "../../core/state.ts";
import type { Store } from "../../core/store.ts";
import { eachSide, type Numbers } from "../../maths/numbers.ts";
import { columnsOf, focusOf } from "./focus.ts";

export interface Table {
  /** N rows, one for each prompt token, of `width` columns. */
  effects: Numbers;
  width: number;
  exact: ArrayLike<boolean> & { every(test: (value: boolean) => boolean): boolean };
  /** Column of an answer token. */
  place(column: number): number;
}

/** Estimates of what hiding a token does, in the same unit, best first. */
const STAND_INS = ["attention_knockout", "gradient_x_input_logprob"];

/** What is shown in a cell whose exact effect is not known yet; only occlusion has such a thing. */
export function standIn(state: State): Method | undefined {
  if (state.method?.name !== EXACT) return undefined;
  const { methods } = state.manifest;
  return STAND_INS.map((name) => methods.find((method) => method.name === name)).find(Boolean);
}

/** The run behind the picture; null where an estimate is shown. */
export function shownRun(store: Store): ExactRun | null {
  return store.method?.exact ? exactRun(store, store.method.name) : null;
}

/** Effects by the chosen method. */
export function tableNeeds(state: State, run: ExactRun | null, got: Got): Need[] {
  const { method } = state;
  if (run) return runNeeds(state, run, got);
  if (!method) return [];
  return SIDES.flatMap((side) => {
    const whole = keys.saliency(side, method.name);
    // One answer token is enough where the others would have to be computed.
    if (focusOf(state) === "answer token" && !state.has(whole)) {
      const columns = columnsOf(state, side);
      return required(...columns.map((m) => keys.saliencyColumn(side, method.name, m)));
    }
    return state.answer(side).tokens.length ? required(whole) : [];
  });
}

/** What is measured before the run begins, and the estimate of what is not measured yet. */
function runNeeds(state: State, run: ExactRun, got: Got): Need[] {
  const whole = SIDES.map((side) => keys.saliency(side, run.method));
  const soFar = SIDES.map((side) => keys.saliencySoFar(side, run.method));
  const unknown = run.status === "unknown";
  // A recording holds the whole table, and says nothing of how it came about.
  const recorded =
    whole.every((key) => state.has(key)) || soFar.some((key) => got(key).state === "failed");
  const tables = unknown ? measuredBefore(run, got) : run.tables;
  const open = tables && run.status !== "done" && !SIDES.every((side) => complete(tables[side]));
  const estimate = open && standIn(state);
  return [
    ...(!unknown ? [] : recorded ? required(...whole) : quiet(...soFar)),
    ...(estimate ? optional(...SIDES.map((side) => keys.saliency(side, estimate.name))) : []),
  ];
}

function measuredBefore(run: ExactRun, got: Got): BySide<Tensor> | null {
  return (
    both(got, (side) => keys.saliency(side, run.method)) ??
    both(got, (side) => keys.saliencySoFar(side, run.method))
  );
}

/** The tables of the chosen method; an exact run that has not begun begins. */
export function tablesOf(state: State, run: ExactRun | null, got: Got): BySide<Table | null> {
  if (run) {
    const estimate = standIn(state);
    const estimates = estimate ? both(got, (side) => keys.saliency(side, estimate.name)) : null;
    const before = measuredBefore(run, got);
    if (before) run.begin(before);
    return eachSide((side) => mixed(state, side, run, estimates?.[side] ?? null));
  }
  const { method } = state;
  return eachSide((side) => {
    if (!method) return null;
    const whole = got(keys.saliency(side, method.name)).value;
    if (whole) {
      return sameFor(whole, undefined, () =>
        estimated(whole.data, state.answer(side).tokens.length),
      );
    }
    const [column] = columnsOf(state, side);
    if (column === undefined) return null;
    const { data } = take(got(keys.saliencyColumn(side, method.name, column)));
    return { ...estimated(data, 1), place: () => 0 };
  });
}

/** A table of which nothing is measured. */
export function estimated(effects: Numbers, width: number): Table {
  const exact = new Array<boolean>(effects.length).fill(false);
  return { effects, width, exact, place: (column) => column };
}

/** Exact cells where they are known, the estimate in the others, NaN without either. */
function mixed(state: State, side: Side, run: ExactRun, estimate: Tensor | null): Table | null {
  const width = state.answer(side).tokens.length;
  if (width === 0) return null;
  const table = run.tables[side];
  if (!table) return mixedOf(null, estimate, width, width * state.promptLength);
  const length = width * state.promptLength;
  return sameFor(table, estimate, () => mixedOf(table, estimate, width, length));
}

const MADE = new WeakMap<Tensor, { estimate: Tensor | null | undefined; table: Table }>();

/** The table made of a tensor before, where it was made with the same estimate. */
function sameFor(tensor: Tensor, estimate: Tensor | null | undefined, make: () => Table): Table {
  const before = MADE.get(tensor);
  if (before && before.estimate === estimate) return before.table;
  const table = make();
  MADE.set(tensor, { estimate, table });
  return table;
}

function mixedOf(
  exactly: Tensor | null,
  estimate: Tensor | null,
  width: number,
  length: number,
): Table {
  const known = exactly?.data;
  const effects = Float64Array.from({ length }, (_, i) => {
    const value = known?.[i] ?? Number.NaN;
    return Number.isNaN(value) ? (estimate?.data[i] ?? Number.NaN) : value;
  });
  const exact = Array.from(effects, (_, i) => !Number.isNaN(known?.[i] ?? Number.NaN));
  return { effects, width, exact, place: (column) => column };
}
