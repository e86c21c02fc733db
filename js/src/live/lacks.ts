// What a page does not compute, and why.

import { keys } from "../contract/contract.ts";

const GRADIENTS = "gradients, which a page does not compute: trace the prompt in a notebook.";
const EXACT = "Exact effects are here.";

/** Kinds of blocks, by the first words of their keys, and the reason. */
const REASONS = new Map(
  [
    [keys.update(), `The update is taken apart with ${GRADIENTS}`],
    [keys.unitEffects(0, 0), `Which units mattered is found with ${GRADIENTS}`],
    [
      keys.exchangedNeurons("base", "everywhere", "answer", 0),
      `Neurons are ranked by ${GRADIENTS}`,
    ],
    [keys.headEffect("base", "answer"), `Estimates need ${GRADIENTS} ${EXACT}`],
    [keys.neuronEffect("base", "answer"), `Estimates need ${GRADIENTS} ${EXACT}`],
  ].map(([key, reason]) => [kindOf(key!), reason!]),
);

function kindOf(key: string): string {
  return key
    .split("/")
    .slice(0, 2)
    .join("/")
    .replace(/\/(base|tuned|answer|\d+)$/, "");
}

/** Why a block cannot be computed in a page; empty where it can. */
export function lacks(key: string): string {
  return REASONS.get(kindOf(key)) ?? "";
}
