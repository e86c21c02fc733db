// Exact effects as they come: computed piece by piece, shown so far, stopped and taken up again.

import { type BySide, EXACT, keys, SIDES, type Side } from "../contract/contract.ts";
import type { Tensor } from "../contract/decode.ts";
import { reasonOf } from "./load.ts";
import type { Store } from "./store.ts";

/** unknown: not begun. */
export type Status = "unknown" | "running" | "stopped" | "failed" | "done";

export interface ExactRun {
  readonly method: string;
  readonly status: Status;
  /** Why it failed. */
  readonly reason: string;
  /** Cells of each model, NaN where not computed yet; null where nothing is known. */
  readonly tables: BySide<Tensor | null>;
  /** Begin with what is measured already, unless it has begun. */
  begin(tables: BySide<Tensor>): void;
  start(): void;
  stop(): void;
  /** Called after every change. */
  subscribe(listener: () => void, signal: AbortSignal): void;
}

/** Of one place of the dial: what was measured at another one is of another model. */
const runs = new WeakMap<Store, { place: string; byMethod: Map<string, ExactRun> }>();

/** The one run of an exact method that all panels of a store share. */
export function exactRun(store: Store, method: string): ExactRun {
  let mine = runs.get(store);
  if (mine?.place !== store.place) {
    for (const run of mine?.byMethod.values() ?? []) run.stop();
    mine = { place: store.place, byMethod: new Map() };
    runs.set(store, mine);
  }
  let run = mine.byMethod.get(method);
  if (!run) {
    run = make(store, method);
    mine.byMethod.set(method, run);
  }
  return run;
}

/** Stop what nobody looks at any more; the truth goes on, it checks the estimates. */
export function leaveOthers(store: Store, method: string | undefined): void {
  for (const [name, run] of runs.get(store)?.byMethod ?? []) {
    if (name !== method && name !== EXACT && run.status === "running") run.stop();
  }
}

/** Rows of a table in which every cell is known. */
export function rowsDone({ shape, data }: Tensor): number {
  const [rows, width] = shape as [number, number];
  let done = 0;
  for (let n = 0; n < rows; n++) {
    let known = true;
    for (let m = 0; m < width; m++) known &&= !Number.isNaN(data[n * width + m]!);
    if (known) done++;
  }
  return done;
}

/** Whether every cell is known. */
export const complete = (table: Tensor | null) => table !== null && !table.data.some(Number.isNaN);

function make(store: Store, method: string): ExactRun {
  const key = (side: Side) => keys.saliency(side, method);
  const keySoFar = (side: Side) => keys.saliencySoFar(side, method);
  const listeners = new Set<() => void>();
  let controller = new AbortController();

  const change = (patch: Partial<ExactRun> = {}) => {
    Object.assign(run, patch);
    for (const listener of [...listeners]) listener();
  };
  const put = (side: Side, table: Tensor) => {
    run.tables = { ...run.tables, [side]: table };
  };

  /** Ask for what is there now; one question at a time, the last one after the last report. */
  const refresher = (side: Side, signal: AbortSignal) => {
    let asking = false;
    let again = false;
    const ask = async () => {
      if (asking) {
        again = true;
        return;
      }
      asking = true;
      try {
        const table = await store.block(keySoFar(side), signal);
        if (!signal.aborted && run.status !== "done") {
          put(side, table);
          change();
        }
      } catch {
        // The answer to the whole table says what is wrong.
      }
      asking = false;
      if (again && !signal.aborted) {
        again = false;
        void ask();
      }
    };
    return ask;
  };

  const compute = async (side: Side, signal: AbortSignal) => {
    if (complete(run.tables[side])) return;
    const table = await store.block(key(side), signal, refresher(side, signal));
    if (signal.aborted) return;
    put(side, table);
    change();
  };

  const start = () => {
    if (run.status === "running" || run.status === "done") return;
    controller = new AbortController();
    const { signal } = controller;
    const mine = AbortSignal.any([signal, store.signal]);
    change({ status: "running", reason: "" });
    Promise.all(SIDES.map((side) => compute(side, mine)))
      .then(() => {
        if (!mine.aborted) change({ status: "done" });
      })
      .catch((error: unknown) => {
        if (mine.aborted) return;
        controller.abort();
        change({ status: "failed", reason: reasonOf(error) });
      });
  };

  const run = {
    method,
    status: "unknown" as Status,
    reason: "",
    tables: { base: null, tuned: null } as BySide<Tensor | null>,
    begin(tables: BySide<Tensor>) {
      if (run.status !== "unknown") return;
      run.tables = tables;
      if (SIDES.every((side) => complete(tables[side]))) change({ status: "done" });
      else start();
    },
    start,
    stop() {
      if (run.status !== "running") return;
      controller.abort();
      change({ status: "stopped" });
    },
    subscribe(listener: () => void, signal: AbortSignal) {
      listeners.add(listener);
      signal.addEventListener("abort", () => listeners.delete(listener));
    },
  };
  return run;
}
