// What Python writes into the page of a study.

import type { ThemeName } from "../contract/palette.ts";
import type { State } from "./case_panel.ts";

/** One change of settings, with the scores of every case under it. */
export interface Variant {
  name: string;
  /** Null where there is no instruction to score. */
  base: (number | null)[];
  tuned: (number | null)[];
}

/** Values of every case in each part; null where the profile is not about the case. */
export type Profile = (number[] | null)[];

/** Bokeh documents of all figures of one theme, and the id of each figure by its name. */
export interface FigureDocuments {
  documents: Record<string, unknown>;
  roots: Record<string, string>;
}

export interface Study {
  /** Sets of cases that numbers lead to. */
  sets: number[][];
  variants: Variant[];
  profiles: Profile[];
  figures: Record<ThemeName, FigureDocuments>;
  /** What the pages of cases share. */
  shared: State;
  /** One of a pair, or the steps of a chain. */
  steps: Step[];
}

/** One model against another. */
export interface Step {
  name: string;
  /** The pack of each case, and its place in it; null where it was left out. */
  panels: ([pack: number, place: number] | null)[];
}
