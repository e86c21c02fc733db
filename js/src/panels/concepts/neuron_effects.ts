// Activations of neurons, and their effects on the answer: estimates of all, exact ones on request.

import { type BySide, type Key, keys, SIDES, type Side } from "../../contract/contract.ts";
import type { Tensor } from "../../contract/decode.ts";
import { type Got, type Need, quiet } from "../../core/load.ts";
import type { State } from "../../core/state.ts";
import type { Store } from "../../core/store.ts";
import { quote } from "../../draw/format.ts";
import type { Numbers } from "../../maths/numbers.ts";

export interface Neuron {
  layer: number;
  neuron: number;
}

/** Numbers of both models; undefined where one has none, as where its own answer is shorter. */
export type Values = BySide<number | undefined>;

/** What an effect is on: one answer token, or the sum over the answer. */
export interface Target {
  key: number | "answer";
  name: string;
  /** The models that have it. */
  sides: readonly Side[];
}

/** The selected answer token, else the whole answer. */
export function targetOf(state: State): Target {
  const { token } = state.selection;
  if (token < state.promptLength) {
    const sides = SIDES.filter((side) => state.answer(side).tokens.length > 0);
    return { key: "answer", name: "the whole answer", sides };
  }
  return {
    key: token - state.promptLength,
    name: quote(state.text(token)),
    sides: SIDES.filter((side) => token < state.length(side)),
  };
}

/** Keys of the estimates of all neurons, [layers, neurons] of each side. */
export function estimateKeys({ key, sides }: Target): Key<Tensor>[] {
  return sides.map((side) => keys.neuronEffect(side, key));
}

/** Keys of the exact effects of one neuron. */
export function exactKeys({ key, sides }: Target, { layer, neuron }: Neuron): Key<Tensor>[] {
  return sides.map((side) => keys.neuronAblation(side, layer, neuron, key));
}

/** Blocks to show where they can be had without computing them, all or none. */
export function known(state: State, wanted: readonly Key<unknown>[]): Need[] {
  return wanted.every((key) => state.has(key)) ? quiet(...wanted) : [];
}

export function estimateOf(got: Got, target: Target, { layer, neuron }: Neuron): Values | null {
  const index = ({ shape }: Tensor) => layer * shape[1]! + neuron;
  return effectOf(got, target, estimateKeys(target), index);
}

export function exactOf(got: Got, target: Target, neuron: Neuron): Values | null {
  return effectOf(got, target, exactKeys(target, neuron), () => 0);
}

/** One number of the block of each side; null unless all are there. */
function effectOf(
  got: Got,
  { sides }: Target,
  wanted: readonly Key<Tensor>[],
  index: (tensor: Tensor) => number,
): Values | null {
  const effect: Values = { base: undefined, tuned: undefined };
  for (const [i, side] of sides.entries()) {
    const tensor = got(wanted[i]!).value;
    if (!tensor) return null;
    effect[side] = tensor.data[index(tensor)];
  }
  return effect;
}

/** Set a neuron to zero in both models and see what the answer loses. */
export async function measure(
  store: Store,
  target: Target,
  neuron: Neuron,
  signal: AbortSignal,
): Promise<void> {
  await Promise.all(exactKeys(target, neuron).map((key) => store.block(key, signal)));
}

export function activationKeys({ layer, neuron }: Neuron): Key<Tensor>[] {
  return SIDES.map((side) => keys.neuronActivations(side, layer, neuron));
}

/** Activation where the selected token is read, or its mean magnitude over the answer. */
export function activationsOf(state: State, got: Got, neuron: Neuron): Values {
  const [base, tuned] = activationKeys(neuron).map((key) => {
    const data = got(key).value?.data;
    if (!data || state.reading >= 0) return data?.[state.reading];
    return meanMagnitude(data.subarray(state.promptLength - 1, data.length - 1));
  });
  return { base, tuned };
}

function meanMagnitude(values: Numbers): number | undefined {
  if (!values.length) return undefined;
  return Array.from(values, Math.abs).reduce((a, b) => a + b, 0) / values.length;
}
