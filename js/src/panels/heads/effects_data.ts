// Effects of heads on the answer: estimates by gradient, and exact ones where they are known.

import {
  ABLATIONS,
  type Ablation,
  type BySide,
  type Key,
  keys,
  SIDES,
  type Side,
} from "../../contract/contract.ts";
import type { Tensor } from "../../contract/decode.ts";
import type { Got } from "../../core/load.ts";
import type { State } from "../../core/state.ts";
import { ownTemplates } from "../../core/state.ts";
import { eachSide, type Numbers } from "../../maths/numbers.ts";
import { headAt, target } from "./measures.ts";

/** Models whose answer has the token that effects are on. */
function answering(state: State): Side[] {
  const on = target(state);
  return SIDES.filter((side) => on === "answer" || on < state.answer(side).tokens.length);
}

export function effectKeys(state: State): Key<Tensor>[] {
  return answering(state).map((side) => keys.headEffect(side, target(state)));
}

/** First-order effects in nats, [layers, heads] flattened; NaN where a model has no such token. */
export function effectsOf(state: State, got: Got): BySide<Numbers> {
  return eachSide(
    (side) => got(keys.headEffect(side, target(state))).value?.data ?? noEffects(state),
  );
}

/** What is asked for, where it belongs, and what is known of that. */
export interface AblationKeys {
  key: Key<Tensor>;
  whole: Key<Tensor>;
  soFar: Key<Tensor>;
}

/** Keys that measure heads exactly: one head, or those with the largest estimates (-1). */
export function ablationKeys(state: State, kind: Ablation, head: number): AblationKeys[] {
  const on = target(state);
  const { heads } = state.manifest.pair;
  return answering(state).map((side) => {
    const whole = keys.headAblation(side, kind, on);
    const { layer, head: at } = headAt(head, heads);
    const key = head < 0 ? whole : keys.headAblationOne(side, kind, on, layer, at);
    return { key, whole, soFar: keys.headAblationSoFar(side, kind, on) };
  });
}

/** What takes the place of a head's output: another model's only where both read one text. */
export function ablations(state: State): Ablation[] {
  const sameText = state.manifest.shared && !ownTemplates(state.manifest);
  return ABLATIONS.filter((kind) => kind !== "other" || sameText);
}

/** The block with the exact effects that are recorded, or were computed before. */
function exactKey(state: State, side: Side): Key<Tensor> {
  const { ablation } = state.options.heads;
  const whole = keys.headAblation(side, ablation, target(state));
  if (state.has(whole) || !state.live) return whole;
  return keys.headAblationSoFar(side, ablation, target(state));
}

export function exactKeys(state: State): Key<Tensor>[] {
  return answering(state).map((side) => exactKey(state, side));
}

export interface Measured {
  values: BySide<Numbers>;
  any: boolean;
}

/** Exact effects measured from here, by whole block: they come one head or twenty at a time. */
export class ExactEffects {
  #measured = new Map<string, Float32Array>();

  /** Keep the numbers that a block of `whole` holds, whole or so far. */
  add(whole: Key<Tensor>, values: Numbers): void {
    this.#measured.set(whole, merged(values, this.#measured.get(whole)));
  }

  /** What is known for the selection: measured from here, computed before, or recorded. */
  known(state: State, got: Got): Measured {
    const values = eachSide((side) => {
      const whole = keys.headAblation(side, state.options.heads.ablation, target(state));
      const block = got(exactKey(state, side)).value?.data ?? noEffects(state);
      return merged(block, this.#measured.get(whole));
    });
    return { values, any: SIDES.some((side) => values[side].some(Number.isFinite)) };
  }
}

/** The first numbers where they are known, the others elsewhere. */
function merged(first: Numbers, others?: Numbers): Float32Array {
  return Float32Array.from(first, (value, i) =>
    Number.isFinite(value) ? value : (others?.[i] ?? Number.NaN),
  );
}

export function noEffects({ manifest: { pair } }: State): Float32Array {
  return new Float32Array(pair.layers * pair.heads).fill(Number.NaN);
}
