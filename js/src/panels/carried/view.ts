// What both ways to look at exchanged parts have in common.

import type { Key } from "../../contract/contract.ts";
import type { Got, Need } from "../../core/load.ts";
import type { CarriedView } from "../../core/options.ts";
import type { State } from "../../core/state.ts";
import { lacksAnswer } from "../../core/state.ts";
import type { Store } from "../../core/store.ts";
import { button, h } from "../../draw/dom.ts";
import type { Picture } from "../../shell/frame.ts";

export interface View {
  name: CarriedView;
  label: string;
  el: HTMLElement;
  controls: HTMLElement[];
  table(): (string | number)[][];
  needs(state: State, got: Got): Need[];
  picture(state: State, got: Got): Picture;
}

/** Why no parts can be exchanged; empty where they can. */
export const missing = (state: State) => lacksAnswer(state, "parts can be exchanged");

/** The selected answer token, else the whole answer, of a prompt token, too. */
export function targetOf(state: State): number | "answer" {
  const at = state.selection.token - state.promptLength;
  return at >= 0 ? at : "answer";
}

/** What lies between two shares of the width. */
export function bar(from: number, to: number, kind?: string): HTMLElement {
  const [left, width] = [Math.min(from, to), Math.abs(to - from)].map((x) => (x * 100).toFixed(2));
  const style = `left: ${left}%; width: ${width}%`;
  return h("i", {
    class: "tl-carried-bar",
    "data-kind": kind,
    "data-look": to < from && "hollow",
    style,
  });
}

/** Asks for what takes long, at the selected token. */
export function asking(store: Store, signal: AbortSignal): HTMLButtonElement {
  const ask = () => store.setOptions("carried", { asked: store.selection.token });
  return button("", ask, signal, { hidden: true });
}

/** Query and key weights up to which everything about a model is computed in seconds. */
const FEW_WEIGHTS = 2 ** 22;

/** Whether it takes long to measure for the selected token alone, and nobody has asked for it. */
export function waits(state: State, key: Key<unknown> | null): boolean {
  if (!state.live || !key || state.selection.token < 0 || state.has(key)) return false;
  if (targetOf(state) === "answer" && !key.startsWith("exchanged")) return false;
  const { layers, hidden } = state.manifest.pair;
  const small = 2 * layers * hidden ** 2 <= FEW_WEIGHTS;
  return !small && state.options.carried.asked !== state.selection.token;
}
