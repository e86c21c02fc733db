// How things are shown, not what is selected: one record of plain JSON for each panel.

import type { Ablation, Side } from "../contract/contract.ts";
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
export type HeadTab = "maps" | "effects" | "pairs" | "scatter";
/** By which of the three numbers of a head the list is sorted. */
export type HeadColumn = "base" | "tuned" | "third";
/** Whether only tuned, both models, or only base hold a word pair. */
export type Fate = "gained" | "kept" | "lost";
/** Words of a unit in three zones, or a cloud for each model. */
export type CloudShape = "zones" | "clouds";
export type UnitTab = "units" | "components" | "neurons" | "find" | "rotation";
/** Columns of the table of components, by which it is sorted. */
export type ComponentColumn =
  | "component"
  | "name"
  | "variance"
  | "sum"
  | "match"
  | "angle"
  | "active";
export type NeuronOrder = "active" | "changed" | "effect";
/** The smallest set of parts, or each part by itself. */
export type CarriedView = "set" | "each";
export type OverviewTab = "layers" | "lens" | "template" | "handover";
export type LensReader = "own" | "base" | "tuned";
export type NeuronScope = "layer" | "all";

export interface SaliencyOptions {
  /** Shown for one token: effects as computed, or the paper's levels. */
  tokenMeasure: "effect" | "levels";
  /** Bars for the whole answer: none beside the matrix, density, mean effect, or mean level. */
  answerMeasure: "none" | "density" | "effect" | "levels";
  density: DensitySettings;
  /** b for pictures of levels; the density has its own. */
  pictureThreshold: number;
  /** Leave the first token's column out of attention pictures. */
  setSinkAside: boolean;
  /** Collapse template and special tokens, in the text and in the matrix. */
  hideTemplate: boolean;
  /** Shares of the effect under every answer token. */
  showShares: boolean;
  /** The cell of the matrix that was chosen with the selected answer token. */
  cell: { token: number; prompt: number } | null;
  /** A span of answer tokens: the selected one and the one at its other end. */
  span: { token: number; end: number } | null;
  /** Whether it is unfolded how far the numbers can be trusted. */
  trustOpen: boolean;
}

export interface HeadsOptions {
  measure: HeadMeasure;
  /** Averaged over the answer, whatever token is selected. */
  average: boolean;
  view: "grid" | "list";
  sort: HeadColumn;
  tab: HeadTab;
  /** What takes the place of a head's output when its effect is measured. */
  ablation: Ablation;
  /** What heads are ranked by: what was measured comes first, or estimates alone. */
  ranked: "exact" | "estimate";
  /** Word pairs that are listed. */
  fates: Fate[];
  /** The word that pairs and heads are searched for; empty for none. */
  word: string;
  /** The head of which all pairs are listed, as "layer/head"; empty for none. */
  allPairs: string;
}

export interface ConceptsOptions {
  shape: CloudShape;
  /** The two ends of a direction in one cloud, or each by itself. */
  ends: "together" | "apart";
  tab: UnitTab;
  sort: { by: ComponentColumn; falls: boolean };
  order: NeuronOrder;
  scope: NeuronScope;
  /** The word that is looked up; empty for none. */
  word: string;
}

export interface FindingsOptions {
  /** Number of the finding that was chosen; -1 for none. */
  chosen: number;
}

export interface CarriedOptions {
  view: CarriedView;
  /** The model whose parts are replaced one by one. */
  into: Side;
  /** Whether they are at every position although a token is selected. */
  everywhere: boolean;
  /** The answer token for which it was asked what carries it alone; -1 for none. */
  asked: number;
  /** The layer whose neurons it was asked to measure; -1 for none. */
  neuronsOf: number;
}

export interface UpdateOptions {
  /** Whether it was asked to take the update apart. */
  asked: boolean;
  /** The direction that was chosen, counted over all matrices; -1 for none. */
  chosen: number;
  /** How far the update, or that part of it, is turned up: 1 is tuned. */
  scale: number;
  /** What of it the dial turns, such as `layer:3`; empty for all of it. */
  part: string;
  /** What people call a direction that is turned. */
  partName: string;
}

export interface OverviewOptions {
  tab: OverviewTab;
  /** Whose unembedding reads the layers of either model. */
  lensReader: LensReader;
}

/** One panel at a time, the matrix beside one or two others, or all; by the room there is. */
export type Layout = "auto" | "tabs" | "pair" | "trio" | "grid";
/** Panels that take turns below the tokens. */
export const DESK = ["saliency", "carried", "update", "heads", "concepts", "overview"] as const;
export type DeskPanel = (typeof DESK)[number];

export interface DashboardOptions {
  layout: Layout;
  /** The panel that is shown alone. */
  tab: DeskPanel;
  /** The panel beside the matrix. */
  beside: Exclude<DeskPanel, "saliency">;
}

export interface Options {
  dashboard: DashboardOptions;
  findings: FindingsOptions;
  saliency: SaliencyOptions;
  carried: CarriedOptions;
  update: UpdateOptions;
  heads: HeadsOptions;
  concepts: ConceptsOptions;
  overview: OverviewOptions;
}

export const OPTIONS: Options = {
  dashboard: { layout: "auto", tab: "saliency", beside: "carried" },
  findings: { chosen: -1 },
  saliency: {
    tokenMeasure: "effect",
    answerMeasure: "none",
    density: { levels: 10, threshold: 7, norm: 4, relative: true },
    pictureThreshold: 0,
    setSinkAside: true,
    hideTemplate: true,
    showShares: false,
    cell: null,
    span: null,
    trustOpen: false,
  },
  carried: { view: "set", into: "tuned", everywhere: false, asked: -1, neuronsOf: -1 },
  update: { asked: false, chosen: -1, scale: 1, part: "", partName: "" },
  heads: {
    measure: "auto",
    average: false,
    view: "grid",
    sort: "third",
    tab: "maps",
    ablation: "zero",
    ranked: "exact",
    fates: ["gained", "kept", "lost"],
    word: "",
    allPairs: "",
  },
  concepts: {
    shape: "zones",
    ends: "together",
    tab: "units",
    sort: { by: "component", falls: false },
    order: "active",
    scope: "layer",
    word: "",
  },
  overview: { tab: "layers", lensReader: "own" },
};

/** Options by panel and name, as far as they are not those of the start. */
export type Changed = Record<string, Record<string, unknown>>;

const PANELS = Object.keys(OPTIONS) as (keyof Options)[];

/** What a page or the kernel keeps of options. */
export function changedOptions(options: Options): Changed {
  const changed: Changed = {};
  for (const panel of PANELS) {
    const start = Object.entries(OPTIONS[panel]);
    const now = options[panel] as unknown as Record<string, unknown>;
    const others = start.filter(([name, value]) => !same(now[name], value));
    if (others.length) {
      changed[panel] = Object.fromEntries(others.map(([name]) => [name, now[name]]));
    }
  }
  return changed;
}

/** Options from what was kept of them; what has another name or type than here is passed over. */
export function optionsFrom(changed: Changed): Options {
  const options = structuredClone(OPTIONS);
  for (const panel of PANELS) {
    for (const [name, value] of Object.entries(OPTIONS[panel])) {
      const restored = changed[panel]?.[name];
      if (typeof restored === typeof value) Object.assign(options[panel], { [name]: restored });
    }
  }
  return options;
}

/** What brings a panel of the desk into sight. */
export function shownIn(panel: DeskPanel): Partial<DashboardOptions> {
  return panel === "saliency" ? { tab: panel } : { tab: panel, beside: panel };
}

export function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
