// How things are shown: what only this page knows, and what it starts with.

import type { DensitySettings } from "../maths/density.ts";

export type HeadMeasure =
  | "auto"
  | "instruction"
  | "received"
  | "change"
  | "sink"
  | "write"
  | "previous"
  | "entropy"
  | "effect"
  | "exact"
  | "query_key"
  | "value_output"
  | "pairs";
/** What takes the place of a head's output when its effect is measured. */
export type Ablation = "zero" | "mean" | "other";
export type HeadTab = "maps" | "effects" | "pairs" | "scatter";

/** What only this page knows: how things are shown, not what is selected. */
export interface Options {
  /** Shown for one token: effects as computed, or the paper's levels. */
  tokenMeasure: "effect" | "levels";
  /** Shown for the whole answer: density, mean effect, or mean level. */
  answerMeasure: "density" | "effect" | "levels";
  density: DensitySettings;
  /** b for pictures of levels; the density has its own. */
  pictureThreshold: number;
  /** Leave the first token's column out of attention pictures. */
  setSinkAside: boolean;
  hideTemplate: boolean;
  headMeasure: HeadMeasure;
  /** Heads averaged over the answer, whatever token is selected. */
  headAverage: boolean;
  headView: "grid" | "list";
  headTab: HeadTab;
  ablation: Ablation;
  /** A span of answer tokens: the selected one and the one at its other end. */
  span: { token: number; end: number } | null;
}

export const OPTIONS: Options = {
  tokenMeasure: "effect",
  answerMeasure: "density",
  density: { levels: 10, threshold: 7, norm: 4, relative: true },
  pictureThreshold: 0,
  setSinkAside: true,
  hideTemplate: false,
  headMeasure: "auto",
  headAverage: false,
  headView: "grid",
  headTab: "maps",
  ablation: "zero",
  span: null,
};
