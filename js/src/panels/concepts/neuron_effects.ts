// Activations of neurons, and their effects on the answer: estimates of all, exact ones on request.

import { type BySide, keys, SIDES, type Side } from "../../contract/contract.ts";
import type { Tensor } from "../../contract/decode.ts";
import type { Store } from "../../core/store.ts";
import { quote } from "../../draw/format.ts";
import { bySide, type Numbers } from "../../maths/numbers.ts";
import type { View } from "../../shell/frame.ts";

/** Effects in nats; undefined where a side has none, as where its own answer is shorter. */
export type Effect = BySide<number | undefined>;

/** What an effect is on: one answer token, or the sum over the answer. */
export interface Target {
  key: number | "answer";
  name: string;
  /** Whether a side has it. */
  has(side: Side): boolean;
}

/** The selected answer token, else the whole answer. */
export function targetOf(store: Store): Target {
  const { token } = store.selection;
  if (token < store.promptLength) {
    const has = (side: Side) => store.answer(side).tokens.length > 0;
    return { key: "answer", name: "the whole answer", has };
  }
  return {
    key: token - store.promptLength,
    name: quote(store.text(token)),
    has: (side) => token < store.length(side),
  };
}

/** Estimates of all neurons, [layers, neurons] of each side; null where they cannot be had. */
export function loadEstimates(view: View, target: Target): Promise<BySide<Tensor | null> | null> {
  return view.optional(
    bySide(async (side) =>
      target.has(side) ? view.block(keys.neuronEffect(side, target.key)) : null,
    ),
    true,
  );
}

/** Whether the estimates can be had without computing them. */
export function hasEstimates(store: Store, target: Target): boolean {
  return SIDES.every((side) => !target.has(side) || store.has(keys.neuronEffect(side, target.key)));
}

export function effectOf(
  tensors: BySide<Tensor | null> | null,
  layer: number,
  neuron: number,
): Effect | null {
  if (!tensors) return null;
  const of = (tensor: Tensor | null) => tensor?.data[layer * tensor.shape[1]! + neuron];
  return { base: of(tensors.base), tuned: of(tensors.tuned) };
}

/** Whether the exact effect of a neuron is known already. */
export function isMeasured(store: Store, layer: number, neuron: number, target: Target): boolean {
  return SIDES.every(
    (side) => !target.has(side) || store.has(keys.neuronAblation(side, layer, neuron, target.key)),
  );
}

/** Set a neuron to zero in both models and see what the answer loses. */
export async function measure(
  store: Store,
  layer: number,
  neuron: number,
  target: Target,
  signal: AbortSignal,
): Promise<Effect> {
  return bySide(async (side) => {
    if (!target.has(side)) return undefined;
    const key = keys.neuronAblation(side, layer, neuron, target.key);
    return (await store.block(key, signal)).data[0];
  });
}

/** Activation where the selected token is read, or its mean magnitude over the answer. */
export async function activationsOf(
  view: View,
  layer: number,
  neuron: number,
): Promise<BySide<number | undefined>> {
  const { store } = view;
  const of = async (side: "base" | "tuned") => {
    const tensor = await view.optional(
      view.block(keys.neuronActivations(side, layer, neuron)),
      true,
    );
    if (!tensor) return undefined;
    if (store.reading >= 0) return tensor.data[store.reading];
    return meanMagnitude(tensor.data.subarray(store.promptLength - 1, tensor.data.length - 1));
  };
  const [base, tuned] = await Promise.all([of("base"), of("tuned")]);
  return { base, tuned };
}

function meanMagnitude(values: Numbers): number | undefined {
  if (!values.length) return undefined;
  return Array.from(values, Math.abs).reduce((a, b) => a + b, 0) / values.length;
}
