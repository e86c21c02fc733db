// What heads can be coloured and sorted by: names, units, and what fits a selection.

import { type Ablation, type headMeasures, keys, SIDES } from "../../contract/contract.ts";
import { unitName } from "../../contract/units.ts";
import type { HeadColumn, HeadMeasure } from "../../core/options.ts";
import type { State } from "../../core/state.ts";
import { quote } from "../../draw/format.ts";

/** What is shown of heads: of each model, and how the two differ. */
export const COLUMNS: readonly HeadColumn[] = ["base", "tuned", "third"];

export type Measure = Exclude<HeadMeasure, "auto">;
/** Measures that are one number for the pair, not one for each model. */
export type Change = "change" | "query_key" | "value_output";
export type SideMeasure = Exclude<Measure, Change>;
/** Measures that each model has at every position. */
export type RowMeasure = keyof typeof headMeasures | "write";

export interface Facts {
  name: string;
  /** Unit of the numbers, with a blank before it. */
  unit: string;
  /** What it can be at most. */
  most?: number;
}

export const MEASURES: Record<Measure, Facts> = {
  change: { name: "change of the pattern", unit: " bit", most: 1 },
  instruction: { name: "attention to the instruction", unit: "", most: 1 },
  received: { name: "attention received from the answer", unit: "", most: 1 },
  previous: { name: "attention to the token before", unit: "", most: 1 },
  sink: { name: "attention to the first token", unit: "", most: 1 },
  entropy: { name: "entropy of the attention", unit: " bit" },
  effect: { name: "effect, estimated", unit: " nats" },
  exact: { name: "effect, exact", unit: " nats" },
  query_key: { name: "change of the query-key weights", unit: "" },
  value_output: { name: "change of the value-output weights", unit: "" },
  pairs: { name: "word pairs", unit: "" },
  write: { name: "write into the unit's direction", unit: "" },
};

export const ABLATION_NAMES: Record<Ablation, string> = {
  zero: "zero",
  mean: "its mean",
  other: "the other model's",
};

/** A head by its place in [layers, heads] flattened. */
export function headAt(i: number, heads: number): { layer: number; head: number } {
  return { layer: Math.floor(i / heads), head: i % heads };
}

export function isChange(measure: Measure): measure is Change {
  return measure === "change" || measure === "query_key" || measure === "value_output";
}

/** The token for which heads are shown; -1: the whole answer. */
export function focusToken(state: State): number {
  return state.options.heads.average ? -1 : state.selection.token;
}

/** Where that token's row of attention is read; -1 with none. */
export function focusReading(state: State): number {
  return focusToken(state) < 0 ? -1 : state.reading;
}

/** The answer token an effect is on, as block keys name it. */
export function target(state: State): number | "answer" {
  const m = focusToken(state) - state.promptLength;
  return m < 0 ? "answer" : m;
}

/** What can be shown for the selection, the natural one first. */
export function measures(state: State): Measure[] {
  const token = focusToken(state);
  const list: Measure[] = [];
  const { layer, unit } = state.selection;
  // Recordings hold it of some units only.
  const held = () => SIDES.every((side) => state.has(keys.headWrite(side, layer, unit)));
  if (unit && (state.live || held())) list.push("write");
  if (token >= 0 && token < state.promptLength) list.push("received");
  if (state.segment("instruction").length) list.push("instruction");
  const first = list.length ? [] : (["sink"] as const);
  const rest = ["change", "previous", "sink", "entropy", "effect", "exact"] as const;
  return [...new Set([...list, ...first, ...rest, "query_key", "value_output", "pairs"] as const)];
}

export function measureOf(state: State): Measure {
  const possible = measures(state);
  const wanted = state.options.heads.measure;
  return possible.find((measure) => measure === wanted) ?? possible[0]!;
}

/** The question the picture answers. */
export function titleOf(state: State, measure: Measure): string {
  const { layer, unit } = state.selection;
  const token = focusToken(state);
  const text = token < 0 ? "" : quote(state.text(token));
  const at = text && ` at ${text}`;
  const on = token >= state.promptLength ? text : "the answer";
  return {
    change: `Which heads changed${at}`,
    instruction: `Which heads look at the instruction${at}`,
    received: `Which heads look at ${text}`,
    previous: `Which heads look at the token before${at}`,
    sink: `Which heads rest on the first token${at}`,
    entropy: `Which heads spread their attention${at}`,
    effect: `Which heads seem to matter for ${on}`,
    exact: `Which heads matter for ${on}`,
    query_key: "Which heads attend by other weights",
    value_output: "Which heads write by other weights",
    pairs: "Which heads gained word pairs",
    write: `Which heads write into ${unitName(unit)} of layer ${layer}${at}`,
  }[measure];
}

/** What base and tuned show, in one sentence without its full stop. */
export function lookOf(state: State, measure: SideMeasure): string {
  const token = focusToken(state);
  const at =
    token < 0
      ? "averaged over the answer"
      : token >= state.promptLength
        ? "read at the position that predicts the token"
        : "read at the token";
  const whose = token >= state.promptLength ? quote(state.text(token)) : "the whole answer";
  return {
    instruction: `Attention to the instruction, ${at}`,
    received: "Mean attention of the answer's positions to this token",
    previous: `Attention to the token before, ${at}`,
    sink: `Attention to the first token, ${at}`,
    entropy: `Entropy of the attention in bits, ${at}`,
    effect: `Estimated effect of each head on the log-probability of ${whose}, by gradient (hatched); a dot where an exact one is known; rings are negative`,
    exact: `Log-probability of ${whose} minus that with the head's output set to ${ABLATION_NAMES[state.options.heads.ablation]}; grey: not computed; rings are negative`,
    pairs: "Word pairs that the weights of each head hold; right: those that only tuned holds",
    write: `Output of each head along the unit's direction, ${at}; rings are negative`,
  }[measure];
}

/** What is shown of a change, which is one number for the pair. */
export function changeText(measure: Change): string {
  return {
    change: "How far the two attention patterns differ (Jensen–Shannon)",
    query_key: "How far the query-key weights differ, relative to base's",
    value_output: "How far the value-output weights differ, relative to base's",
  }[measure];
}
