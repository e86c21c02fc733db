// Mirror of widgets/twinlens/contract: words, manifest, JSON forms of blocks.

export const SCHEMA_VERSION = 1;
export const SIDES = ["base", "tuned"] as const;
export const SEGMENTS = ["special", "template", "instruction", "context", "other"] as const;
export const PANELS = ["dashboard", "saliency", "heads", "concepts", "overview"] as const;

export type Side = (typeof SIDES)[number];
export type Segment = (typeof SEGMENTS)[number];
export type PanelKind = (typeof PANELS)[number];
export type BySide<T> = Record<Side, T>;

export interface Token {
  id: number;
  text: string;
  start: number;
  end: number;
  segment: Segment;
}

export interface ModelInfo {
  name: string;
  revision: string;
  dtype: string;
  parameters: number;
}

export interface PairInfo {
  base: ModelInfo;
  tuned: ModelInfo;
  architecture: string;
  layers: number;
  heads: number;
  kv_heads: number;
  hidden: number;
  intermediate: number;
  vocabulary: number;
  note: string;
}

export interface Method {
  name: string;
  title: string;
  measures: string;
  source: string;
  exact: boolean;
  cost: string;
  /** What is taken away together: a token, or its word, sentence or segment. */
  unit: string;
}

export interface Answer {
  tokens: Token[];
  text: string;
  own_text: string;
  stopped: boolean;
}

export interface Manifest {
  pair: PairInfo;
  prompt: string;
  prompt_tokens: Token[];
  answers: BySide<Answer>;
  response: string;
  shared: boolean;
  methods: Method[];
  parameters: Record<string, unknown>;
  schema: number;
}

/** A span of the prompt marked anew: first token, one past the last, what it is. */
export type Mark = [start: number, end: number, segment: "instruction" | "context"];

// JSON forms of blocks.
export type Word = [text: string, score: number];
export type Alternatives = [text: string, probability: number][][];
export interface Lens {
  target: string;
  layers: { logprob: number; rank: number; top: [string, number][] }[];
}
/** Agreement of an estimate with exact occlusion; null where too little is known. */
export interface Faithfulness {
  spearman: number | null;
  pearson: number | null;
  /** Share of the answer tokens in which the largest estimate is the largest effect. */
  top1: number | null;
  /** Share of the exact cells with an effect of at least 0.1 nats. */
  above_noise: number | null;
  /** Answer tokens behind the correlations, and behind `top1`. */
  columns: number;
  columns_top1: number;
  /** Exact cells it is computed on, of all cells. */
  n: number;
  cells: number;
}
/** Drop of the answer's log-probability as the tokens that matter most, or least, are hidden. */
export interface DeletionCurve {
  share: number[];
  most: number[];
  least: number[];
}
export interface Component {
  base: { explained: number; words: Word[] };
  tuned: { index: number; explained: number; words: Word[] };
  cosine: number;
  angle: number;
  /** Where the trace has labels. */
  name?: string | null;
  labels?: string[];
}
/** Words of either end of a component. */
export type Ends = BySide<{ positive: Word[]; negative: Word[] }>;
/** Components in which a word stands out, numbered as in their own model; rank 1 is the first word. */
export type Found = [layer: number, component: number, cosine: number, rank: number];
export type WordPlaces = { word: string } & BySide<Found[]>;
export interface LayerRotation {
  layer: number;
  /** Leading components compared. */
  k: number;
  /** Mean principal angle in degrees, and the same for random rotations. */
  angle: number;
  null: number;
  /** Share of base's variance that tuned's leading components hold. */
  inside: number;
  own: number;
  null_inside: number;
  /** Relative norm of the weight difference. */
  weights: number;
  added: Word[];
}
export interface Neuron {
  base: { norm: number; words: Word[] };
  tuned: { norm: number; words: Word[] };
  cosine: number;
}
export type NeuronActivity = {
  layer?: number;
  neuron: number;
  base: number | null;
  tuned: number | null;
}[];
/** Whether a neuron's value vector moved or the neuron is used more. */
export interface NeuronChange {
  /** Length of the vectors' difference, as a share of base's. */
  moved: number | null;
  cosine: number;
  base: number | null;
  tuned: number | null;
  used: number | null;
  write: BySide<number | null>;
}
/** What a person calls a component; keys are `layer/component`, as base numbers them. */
export interface Label {
  name: string;
  labels: string[];
}
export type Labels = Record<string, Label>;
export const TASKS = ["writing", "maths", "coding", "translation"] as const;
export const LEVELS = ["phonology", "morphology", "syntax", "semantics"] as const;
/** Word pairs of one head: how many of its neurons hold a pair, in each model. */
export interface WordPairs {
  rows: [word: string, partner: string, base: number, tuned: number][];
  left_out: number;
}
/** Heads in which a word is in any pair, and in how many. */
export type WordHeads = [layer: number, head: number, base: number, tuned: number][];

/** Whether a block says how far a computation has come, so that it is no answer for good. */
export function grows(key: string): boolean {
  return key.startsWith("faithfulness/") || key.endsWith("/so_far");
}
