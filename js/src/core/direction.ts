// The direction of the update that is looked at, by all panels that know it; and what of the update
// the dial turns, in words.

import { keys, type UpdateDirection } from "../contract/contract.ts";
import { type Got, type Need, quiet } from "./load.ts";
import type { UpdateOptions } from "./options.ts";
import type { State } from "./state.ts";

/** A direction goes through one head, or one neuron, from this share on. */
export const MOSTLY = 0.5;
/** It serves one from this share on. */
const SERVES = MOSTLY / 2;

/** Nothing is computed for it: without the update no direction can have been chosen. */
export function directionNeeds(state: State): Need[] {
  return state.options.update.chosen >= 0 && state.has(keys.update()) ? quiet(keys.update()) : [];
}

export function chosenDirection(state: State, got: Got): UpdateDirection | null {
  const { chosen } = state.options.update;
  const directions = chosen >= 0 ? got(keys.update()).value?.directions : undefined;
  return directions?.find(({ index }) => index === chosen) ?? null;
}

/** What people call it. */
export function directionName({ layer, kind, direction }: UpdateDirection): string {
  return `${layer} ${kind} · ${direction}`;
}

/** Query heads it serves; those of keys and values have numbers of their own, one for a group. */
export function servedHeads(direction: UpdateDirection, heads: number, keyHeads: number): number[] {
  const served = direction.heads.filter(([, share]) => share >= SERVES).map(([head]) => head);
  if (!ofKeyHeads(direction)) return served;
  const group = heads / keyHeads;
  return served.flatMap((head) => Array.from({ length: group }, (_, i) => head * group + i));
}

/** Neurons it goes through, the one with the largest share first. */
export function servedNeurons(direction: UpdateDirection): number[] {
  return direction.neurons.map(([neuron]) => neuron);
}

export function ofKeyHeads({ kind }: UpdateDirection): boolean {
  return /^(k|v)_/.test(kind);
}

type Part = Pick<UpdateOptions, "part" | "partName">;

/** Where the dial turns the update: `in layer 3`, `in every q_proj`, `along 3 q_proj · 1`. */
export function partText({ part, partName }: Part): string {
  const [what, which] = part.split(":");
  if (what === "layer") return `in layer ${which}`;
  if (what === "kind") return `in every ${which}`;
  return `along ${partName || `direction ${which}`}`;
}

/** What tuned is with the dial turned. */
export function turnedText({ scale, ...part }: Part & { scale: number }): string {
  return part.part ? `update × ${scale} ${partText(part)}` : `base + ${scale} × update`;
}
