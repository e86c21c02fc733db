// Effects of heads on the answer: estimates by gradient, and exact ones where they are known.

import { type BySide, type Key, keys, SIDES, type Side } from "../../contract/contract.ts";
import type { Tensor } from "../../contract/decode.ts";
import { attempt } from "../../core/load.ts";
import type { Ablation } from "../../core/options.ts";
import type { Store } from "../../core/store.ts";
import { bySide, type Numbers } from "../../maths/numbers.ts";
import type { View } from "../../shell/frame.ts";
import { target } from "./measures.ts";

/** Whether the model's answer has the token the effects are on. */
function answers(store: Store, side: Side, on: number | "answer"): boolean {
  return on === "answer" || on < store.answer(side).tokens.length;
}

/** First-order effects in nats, [layers, heads] flattened; NaN where a model has no such token. */
export function loadEffects(view: View): Promise<BySide<Numbers>> {
  const on = target(view.store);
  const { layers, heads } = view.store.manifest.pair;
  return bySide(async (side): Promise<Numbers> => {
    if (!answers(view.store, side, on)) return empty(layers * heads);
    return (await view.block(keys.headEffect(side, on))).data;
  });
}

/** What is asked for, where it belongs, and what is known of that. */
export interface AblationKeys {
  key: Key<Tensor>;
  whole: Key<Tensor>;
  soFar: Key<Tensor>;
}

/** Keys that measure heads exactly: one head, or those with the largest estimates (-1). */
export function ablationKeys(
  store: Store,
  kind: Ablation,
  on: number | "answer",
  head: number,
): AblationKeys[] {
  const { heads } = store.manifest.pair;
  return SIDES.filter((side) => answers(store, side, on)).map((side) => {
    const whole = keys.headAblation(side, kind, on);
    const key =
      head < 0
        ? whole
        : keys.headAblationOne(side, kind, on, Math.floor(head / heads), head % heads);
    return { key, whole, soFar: keys.headAblationSoFar(side, kind, on) };
  });
}

/** What takes the place of a head's output: another model's only where both read one answer. */
export function ablations(store: Store): Ablation[] {
  return store.manifest.shared ? ["zero", "mean", "other"] : ["zero", "mean"];
}

export interface Measured {
  values: BySide<Numbers>;
  any: boolean;
}

/** Exact effects this page has seen, by key: they come one head or twenty at a time. */
export class ExactEffects {
  #known = new Map<string, Float32Array>();
  #width: number;

  constructor(width: number) {
    this.#width = width;
  }

  /** Keep what a block of `ablationKey` (a whole one or one so far) holds. */
  add(key: string, values: Numbers): void {
    const known = this.#known.get(key) ?? empty(this.#width);
    for (let i = 0; i < known.length; i++) {
      if (Number.isFinite(values[i])) known[i] = values[i]!;
    }
    this.#known.set(key, known);
  }

  addOne(key: string, head: number, value: number): void {
    const values = empty(this.#width);
    values[head] = value;
    this.add(key, values);
  }

  /** What is known for the selection: seen before, computed before, or recorded. */
  async load(view: View): Promise<Measured> {
    const { store } = view;
    const on = target(store);
    const values = await bySide(async (side) => {
      const key = keys.headAblation(side, store.options.heads.ablation, on);
      const whole =
        store.has(key) || !store.live
          ? key
          : keys.headAblationSoFar(side, store.options.heads.ablation, on);
      if (answers(store, side, on)) {
        const found = await attempt(view, view.block(whole));
        if (found.value) this.add(key, found.value.data);
      }
      return (this.#known.get(key) ?? empty(this.#width)).slice();
    });
    return { values, any: SIDES.some((side) => values[side].some(Number.isFinite)) };
  }
}

function empty(length: number): Float32Array {
  return new Float32Array(length).fill(Number.NaN);
}
