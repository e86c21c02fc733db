// What of the text the numbers are about.

import type { Side } from "../../contract/contract.ts";
import type { State } from "../../core/state.ts";

export type Focus = "answer" | "span" | "answer token" | "prompt token";

export function focusOf(state: State): Focus {
  const { token } = state.selection;
  if (token < 0) return "answer";
  if (token < state.promptLength) return "prompt token";
  return state.span ? "span" : "answer token";
}

/** Whether the bars are of one token, or of several answer tokens taken together. */
export function together(focus: Focus): boolean {
  return focus === "answer" || focus === "span";
}

/** Answer tokens of one model that are selected; all of them for the whole answer. */
export function columnsOf(state: State, side: Side): number[] {
  const { token } = state.selection;
  const n = state.promptLength;
  const [from, to] = token < n ? [n, Number.POSITIVE_INFINITY] : (state.span ?? [token, token]);
  const m = state.answer(side).tokens.length;
  return Array.from({ length: m }, (_, i) => i).filter((i) => i + n >= from && i + n <= to);
}
