// What reads one prompt and one answer, and why something cannot be shown of them.

import type { Manifest, Side } from "../contract/contract.ts";
import type { State } from "./state.ts";

/** What needs one prompt that both models read, as the keys of its blocks begin. */
const OF_ONE_PROMPT =
  /^(null|carried|update|handover|exchanged|units|neurons\/(?!effect)|neuron\/change|segments\/elsewhere)/;

/** Whether each model reads the prompt in its own chat template. */
export function ownTemplates(manifest: Manifest): boolean {
  return manifest.parameters.template === "own";
}

/** Why a block cannot be had where the models read two prompts; empty where it can. */
export function lacksPrompt(manifest: Manifest, key: string): string {
  return ownTemplates(manifest) && OF_ONE_PROMPT.test(key)
    ? "Each model reads its own chat template: this takes one prompt that both read."
    : "";
}

/** Of what was neither recorded nor can be computed. */
export const NOT_SAVED =
  "It was not computed when this was saved: show it over the models, then save again.";

/** Why there is nothing to compare over one answer; empty where both read one. */
export function lacksAnswer(state: State, what: string): string {
  if (!state.manifest.shared) {
    return `Each model reads its own answer: ${what} only where both read one answer.`;
  }
  return state.answer("tuned").tokens.length ? "" : "There is no answer to explain.";
}

/** The one model that reads a token of the prompt; undefined where both do. */
export function onlyReader(manifest: Manifest, position: number): Side | undefined {
  const by = manifest.parameters.read_by_one as Record<Side, number[]> | undefined;
  if (by?.base?.includes(position)) return "base";
  return by?.tuned?.includes(position) ? "tuned" : undefined;
}
