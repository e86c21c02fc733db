// Generated from widgets/twinlens/contract by `make contract`: do not edit.

import type { Tensor } from "./decode.ts";

export const SCHEMA_VERSION = 1;
export const SIDES = ["base", "tuned"] as const;
export const SEGMENTS = ["special", "template", "instruction", "context", "other"] as const;
export const PANELS = ["dashboard", "findings", "saliency", "carried", "update", "heads", "concepts", "overview"] as const;
export const UNITS = ["token", "word", "sentence", "segment"] as const;
export const ABLATIONS = ["zero", "mean", "other"] as const;
export const TASKS = ["writing", "maths", "coding", "translation"] as const;
export const LEVELS = ["phonology", "morphology", "syntax", "semantics"] as const;
export const THEMES = ["light", "dark"] as const;
export const EXACT = "occlusion";
export const PUBLISHED = "gradient_x_input";

export type Side = (typeof SIDES)[number];
export type Segment = (typeof SEGMENTS)[number];
export type PanelKind = (typeof PANELS)[number];
export type Ablation = (typeof ABLATIONS)[number];
export type BySide<T> = Record<Side, T>;
export type Mark = [start: number, end: number, segment: "instruction" | "context"];

/** One token as the model read it. */
export interface Token {
  id: number;
  text: string;
  start: number;
  end: number;
  segment: Segment;
}

/** Which model made a result. */
export interface ModelInfo {
  name: string;
  revision: string;
  dtype: string;
  parameters: number;
}

/** The two models and the shape they share; `note` is shown wherever the pair appears. */
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

/** A saliency method, as the front end offers it. */
export interface Method {
  name: string;
  title: string;
  measures: string;
  source: string;
  exact: boolean;
  cost: string;
  unit: string;
}

/** The answer one model was traced on, and the one it gives by itself. */
export interface Answer {
  tokens: Token[];
  text: string;
  own_text: string | null;
  stopped: boolean | null;
}

/** Everything about a trace but its blocks. */
export interface Manifest {
  pair: PairInfo;
  prompt: string;
  prompt_tokens: Token[];
  answers: Record<Side, Answer>;
  response: string;
  shared: boolean;
  methods: Method[];
  parameters: Record<string, unknown>;
  schema: number;
}

/** What a person calls a component: a name, and any of `TASKS` and `LEVELS`. */
export interface HandLabel {
  name: string;
  labels: string[];
}

/** What a model answers by itself, and whether it ended before the token limit. */
export interface OwnAnswer {
  text: string;
  stopped: boolean;
}

/** What the residual stream after one layer would answer; nats, and a rank from 1. */
export interface LensLayer {
  logprob: number;
  rank: number;
  top: Word[];
}

/** Logit lens of one token: of the embedding, then of each layer. */
export interface Lens {
  target: string;
  layers: LensLayer[];
}

/** What one model predicts where an answer token stands. */
export interface Prediction {
  logprob: number;
  rank: number;
  entropy: number;
  expects: Word[];
}

/** One token of an answer that both models read. */
export interface AnswerStep {
  base: Prediction;
  tuned: Prediction;
  kl: number;
  kl_back: number;
  shift: string;
}

/** What hiding a whole segment of the prompt costs each token of an answer, nats. */
export interface HiddenSegment {
  segment: string;
  answer: string;
  base: number[];
  tuned: number[];
}

/** What hiding a span of the prompt costs tuned's answer in each model, nats. */
export interface HiddenSpan {
  start: number;
  base: number;
  tuned: number;
}

/** What the weights and the chat template add to each token of the answer both models read. */
export interface TemplateEffects {
  left_out: number[];
  base: number[];
  tuned: number[];
  base_plain: number[];
  tuned_plain: number[];
  weights: number[];
  template: number[];
  together: number[];
}

/** An answer's log-probability with other text in the chat template's place, in nats. */
export interface OtherText {
  base: number;
  tuned: number;
}

/** A part of tuned that is replaced, at every position, by what base computes there. */
export interface Part {
  kind: string;
  layer: number;
  head: number;
  nats: number;
  share: number;
}

/** A part of a set; ``together`` and ``together_share`` are of it and all in front of it. */
export interface PartOfSet {
  kind: string;
  layer: number;
  head: number;
  nats: number;
  share: number;
  together: number;
  together_share: number;
}

/** What carries the difference of the two models' predictions, of an answer or one token. */
export interface Carried {
  shift: number;
  kl: number;
  goal: number;
  count: number;
  blocks: Part[];
  weights: Part[];
  parts: PartOfSet[];
  random: number[];
}

/** A block of base: its share of all ``weights``, and the ``length`` of what tuned adds to them. */
export interface ChangedBlock {
  kind: string;
  layer: number;
  weights: number;
  length: number;
}

/** How far the update moves base's predictions, and how far one would that learned nothing. */
export interface Null {
  fraction: number;
  update: number[];
  scrambled: number[][];
  rounding: number[];
  changed: ChangedBlock[];
}

/** One thing that tuning changed, or did not, for this prompt. */
export interface Finding {
  kind: string;
  title: string;
  text: Run[];
  checked: string;
  panel: string;
  selection: Record<string, unknown>;
}

/** A component of base: share of the variance, and words. */
export interface BaseComponent {
  explained: number;
  words: Word[];
}

/** Its match in tuned, with its number there. */
export interface TunedComponent {
  index: number;
  explained: number;
  words: Word[];
}

/** A component of base and its match in tuned; name and labels where components are labelled. */
export interface MatchedComponent {
  base: BaseComponent;
  tuned: TunedComponent;
  cosine: number;
  angle: number;
  doubt?: string;
  name?: string | null;
  labels?: string[];
}

/** Words of either end of a direction. */
export interface EndWords {
  positive: Word[];
  negative: Word[];
}

/** Words of either end of a component and of its match. */
export interface ComponentEnds {
  base: EndWords;
  tuned: EndWords;
}

/** Components of both models in which a word stands out. */
export interface WordPlaces {
  word: string;
  base: ComponentPlace[];
  tuned: ComponentPlace[];
}

/** How far a layer's k leading components are turned, beside random rotations (``null``). */
export interface RotationOfLayer {
  layer: number;
  k: number;
  angle: number;
  null: number;
  null_low: number;
  null_high: number;
  inside: number;
  own: number;
  null_inside: number;
  weights: number;
  null_weights: number;
  added: Word[];
}

/** A neuron and its activation in each model; None where that has no such token. */
export interface ActiveNeuron {
  layer: number;
  neuron: number;
  base: number | null;
  tuned: number | null;
}

/** Length of a value vector, its words, and its words after the weight of the final norm. */
export interface SideOfNeuron {
  norm: number;
  words: Word[];
  normed: Word[];
}

/** One neuron of both models, and the cosine of its two value vectors. */
export interface NeuronWords {
  base: SideOfNeuron;
  tuned: SideOfNeuron;
  cosine: number;
}

/** What a token loses where it is read without a unit such as ``neuron:117``, nats. */
export interface UnitEffect {
  unit: string;
  base: number | null;
  tuned: number | null;
}

/** Activation times length of the value vector, in each model. */
export interface Written {
  base: number | null;
  tuned: number | null;
}

/** Whether a neuron's value vector moved, or the neuron is used more. */
export interface NeuronChange {
  moved: number | null;
  cosine: number;
  base: number | null;
  tuned: number | null;
  used: number | null;
  write: Written;
}

/** How word pairs were found: settings, words, words without a vector, changed heads. */
export interface WordPairSearch {
  parameters: Record<string, unknown>;
  words: number;
  missing: number;
  heads_changed: number;
}

/** Word pairs of one head that are in more than one neuron, and how many are not listed. */
export interface WordPairRows {
  rows: WordPairRow[];
  left_out: number;
}

/** Agreement of a method with exact occlusion; None where too little is known. */
export interface Faithfulness {
  spearman: number | null;
  pearson: number | null;
  top1: number | null;
  above_noise: number | null;
  columns: number;
  columns_top1: number;
  n: number;
  cells: number;
}

/** Loss of the answer's log-probability as prompt tokens are hidden, one after the other. */
export interface DeletionCurve {
  share: number[];
  most: number[];
  least: number[];
}

/** A singular direction of what tuning changed in one matrix. */
export interface UpdateDirection {
  index: number;
  layer: number;
  kind: string;
  direction: number;
  size: number;
  effect: number;
  lost: number;
  measured: number | null;
  novelty: string;
  reads: Word[];
  writes: Word[];
  heads: ([number, number])[];
  neurons: ([number, number])[];
  tokens: ([number, number])[];
}

/** Share of the shift that the first of an order of directions keep, for some ``counts``. */
export interface KeptCurve {
  order: string;
  counts: number[];
  kept: number[];
  needed: number;
}

/** The answer's log-probability with a part of the update times a scale, and what is answered. */
export interface UpdateDial {
  dial: ([number, number])[];
  dial_answers: string[];
}

/** The update taken apart into singular directions, and what they do to the answer. */
export interface UpdateTaken {
  shift: number;
  total: number;
  count: number;
  goal: number;
  needed: number;
  kept: number;
  size: number;
  drawn: number[];
  rest: number;
  answer: string;
  random: number[];
  agreement: number;
  curves: KeptCurve[];
  directions: UpdateDirection[];
  dial: ([number, number])[];
  dial_answers: string[];
}

export type Word = [string, number];
export type Alternatives = Word[][];
export type HandLabels = Record<string, HandLabel>;
export type Run = [string, string];
export type ComponentPlace = [number, number, number, number];
export type NeuronActivity = ActiveNeuron[];
export type NeuronExchanged = [number, number, number];
export type WordPairRow = [string, string, number, number];
export type HeadOfWord = [number, number, number, number];
export type WordHeads = HeadOfWord[];

/** A block's key, which knows the form of its value. */
export type Key<T> = string & { readonly form?: T };

export const keys = {
  /** What tuning changed for this prompt, at most five, the most telling first. */
  findings: (): Key<Finding[]> => "findings",
  /** What each model predicts at each token of the answer both read. */
  answerSteps: (): Key<AnswerStep[]> => "answer/steps",
  /** What hiding each segment of the prompt costs each model's own answer, or a given one. */
  hiddenSegments: (): Key<HiddenSegment[]> => "segments",
  /** The same of spans as long as the instruction, without its tokens; on tuned's answer. */
  hiddenElsewhere: (): Key<HiddenSpan[]> => "segments/elsewhere",
  /** What the weights and what the chat template add to each answer token, nats. */
  template: (): Key<TemplateEffects> => "template",
  /** What the answer is worth to both models with other text as long in the template's place. */
  otherTexts: (): Key<OtherText[]> => "template/other_text",
  /** How far the update moves predictions beside the same with its signs drawn anew. */
  null: (): Key<Null> => "null",
  /** Which parts of tuned carry the difference of the predictions: measured as a set. */
  carried: (answerToken: number | "answer"): Key<Carried> => `carried/${answerToken}`,
  /** The update as singular directions: what each did, and the smallest set that keeps it. */
  update: (): Key<UpdateTaken> => "update",
  /** The answer while a part of the update, such as ``layer:3``, is turned up and down. */
  updateDial: (part: string): Key<UpdateDial> => `update/dial/${part}`,
  /** What is said of the update once it is taken apart: a sentence, or none. */
  updateFinding: (): Key<Finding[]> => "update/finding",
  /** Effect of every prompt token on every answer token, in the unit of the method. */
  saliency: (side: Side, method: string): Key<Tensor> => `saliency/${side}/${method}`,
  /** One column of it. */
  saliencyColumn: (side: Side, method: string, answerToken: number): Key<Tensor> => `saliency/${side}/${method}/${answerToken}`,
  /** What of it is computed already, NaN elsewhere. */
  saliencySoFar: (side: Side, method: string): Key<Tensor> => `saliency/${side}/${method}/so_far`,
  /** Agreement of a method with occlusion, on what of that is computed. */
  faithfulness: (side: Side, method: string): Key<Faithfulness> => `faithfulness/${side}/${method}`,
  /** Loss of the answer as prompt tokens are hidden, one after the other. */
  deletion: (side: Side, method: string): Key<DeletionCurve> => `deletion/${side}/${method}`,
  /** Prompt positions of each word, sentence or segment. */
  groups: (grouping: string): Key<number[][]> => `groups/${grouping}`,
  /** What a model answers by itself; recorded where it is not the answer that is read. */
  ownAnswer: (side: Side): Key<OwnAnswer> => `answer/own/${side}`,
  /** Jensen-Shannon divergence of the two models' attention rows, bits. */
  headChange: (): Key<Tensor> => "heads/change",
  /** Attention from a position to the instruction. */
  headInstruction: (side: Side): Key<Tensor> => `heads/instruction/${side}`,
  /** Attention from a position to the first token. */
  headSink: (side: Side): Key<Tensor> => `heads/sink/${side}`,
  /** Mean attention of the answer to a prompt token. */
  headReceived: (side: Side): Key<Tensor> => `heads/received/${side}`,
  /** Entropy of an attention row, bits. */
  headEntropy: (side: Side): Key<Tensor> => `heads/entropy/${side}`,
  /** Attention to the token before; 0 at position 0. */
  headPrevious: (side: Side): Key<Tensor> => `heads/previous/${side}`,
  /** First-order effect of every head (gradient through a gate), nats. */
  headEffect: (side: Side, answerToken: number | "answer"): Key<Tensor> => `heads/effect/${side}/${answerToken}`,
  /** Exact effect of the `TOP_HEADS` heads of largest estimate, nats; NaN elsewhere. */
  headAblation: (side: Side, ablation: Ablation, answerToken: number | "answer"): Key<Tensor> => `heads/ablation/${side}/${ablation}/${answerToken}`,
  /** All exact effects that are computed already, nats; NaN elsewhere. */
  headAblationSoFar: (side: Side, ablation: Ablation, answerToken: number | "answer"): Key<Tensor> => `heads/ablation/${side}/${ablation}/${answerToken}/so_far`,
  /** Exact effect of one head, nats. */
  headAblationOne: (side: Side, ablation: Ablation, answerToken: number | "answer", layer: number, head: number): Key<Tensor> => `heads/ablation/${side}/${ablation}/${answerToken}/${layer}/${head}`,
  /** Relative difference and cosine of the query-key circuit, then of the value-output circuit. */
  headCircuits: (): Key<Tensor> => "heads/circuits",
  /** Relative difference of attention outputs. */
  shiftAttention: (): Key<Tensor> => "shift/attention",
  /** Relative difference of feed-forward outputs. */
  shiftFeedForward: (): Key<Tensor> => "shift/feed_forward",
  /** Relative difference of the residual stream: of the embedding, then after each layer. */
  shiftResidual: (): Key<Tensor> => "shift/residual",
  /** KL(tuned || base) at each answer token, nats. */
  disagreement: (): Key<Tensor> => "disagreement",
  /** The five likeliest rivals of each answer token. */
  alternatives: (side: Side): Key<Alternatives> => `alternatives/${side}`,
  /** Log-probability of each answer token, nats. */
  logprob: (side: Side): Key<Tensor> => `logprob/${side}`,
  /** Mean of 1 - cosine over the matched components. */
  componentChange: (): Key<Tensor> => "components/change",
  /** The K components of base, each with its match in tuned, signs aligned, and their words. */
  components: (layer: number): Key<MatchedComponent[]> => `components/${layer}`,
  /** Words of either end of each component, in the order and with the signs of `components`. */
  componentEnds: (layer: number): Key<ComponentEnds[]> => `components/${layer}/ends`,
  /** How far each layer's leading components are turned, beside random rotations. */
  rotation: (): Key<RotationOfLayer[]> => "rotation",
  /** Feed-forward output along each component of the same model. */
  componentActivations: (side: Side, layer: number): Key<Tensor> => `activations/${side}/${layer}/components`,
  /** Tuned's feed-forward output along *base's* components. */
  baseComponentActivations: (layer: number): Key<Tensor> => `activations/tuned/${layer}/base_components`,
  /** Logit lens where a token is predicted; recordings hold those of the answer. */
  lens: (side: Side, token: number): Key<Lens> => `lens/${side}/${token}`,
  /** Logit lens of the whole answer: each token's log-probability (nats) and rank (from 1). */
  lensTable: (side: Side, unembedding: Side): Key<Tensor> => `lens_table/${side}/${unembedding}`,
  /** Answer under the first l layers of a side and the other model's above them. */
  handover: (side: Side): Key<Tensor> => `handover/${side}`,
  /** What goes with each part of a layer: replaced, alone, by what the other model computes there. */
  exchanged: (side: Side, token: number | "everywhere", answerToken: number | "answer"): Key<Tensor> => `exchanged/${side}/${token}/${answerToken}`,
  /** The same of every head of a layer, with its output weights. Recorded of small models. */
  exchangedHeads: (side: Side, token: number | "everywhere", answerToken: number | "answer", layer: number): Key<Tensor> => `exchanged/${side}/${token}/${answerToken}/${layer}`,
  /** The same of one neuron: its activation and its value vector. */
  exchangedNeuron: (side: Side, token: number | "everywhere", answerToken: number | "answer", layer: number, neuron: number): Key<Tensor> => `exchanged/${side}/${token}/${answerToken}/${layer}/${neuron}`,
  /** The neurons of a layer whose exchange changes most, measured one by one, most first. */
  exchangedNeurons: (side: Side, token: number | "everywhere", answerToken: number | "answer", layer: number): Key<NeuronExchanged[]> => `exchanged_neurons/${side}/${token}/${answerToken}/${layer}`,
  /** Attention pattern; rows are queries. Recorded in the order of change. */
  attention: (side: Side, layer: number, head: number): Key<Tensor> => `attention/${side}/${layer}/${head}`,
  /** Output of every head along the direction of a unit such as ``component:2``. */
  headWrite: (side: Side, layer: number, unit: string): Key<Tensor> => `heads/write/${side}/${layer}/${unit}`,
  /** How word pairs were found, and how much changed. */
  wordPairInfo: (): Key<WordPairSearch> => "word_pairs/info",
  /** Pairs of a head that tuned gained, that both have, and that it lost. */
  wordPairCounts: (): Key<Tensor> => "word_pairs/counts",
  /** Word pairs of one head, those of most neurons first. */
  wordPairs: (layer: number, head: number): Key<WordPairRows> => `word_pairs/${layer}/${head}`,
  /** Heads in which a word is in any pair, most gained first. */
  wordPairFind: (word: string): Key<WordHeads> => `word_pairs/find/${word}`,
  /** Components in which a word stands out, at most 20 of each model, best first. */
  conceptFind: (word: string): Key<WordPlaces> => `concepts/find/${word}`,
  /** What a token loses without each unit of a layer where it is read, measured; largest first. */
  unitEffects: (layer: number, token: number): Key<UnitEffect[]> => `units/${layer}/${token}`,
  /** The same by gradients, integrated while the layer's feed-forward block goes away there. */
  unitEstimates: (layer: number, token: number): Key<UnitEffect[]> => `units/${layer}/${token}/estimate`,
  /** What each neuron adds to an answer token, first order, nats. */
  neuronEffect: (side: Side, answerToken: number | "answer"): Key<Tensor> => `neurons/effect/${side}/${answerToken}`,
  /** Most active and most changed neurons at a token, or by mean magnitude over the answer. */
  neurons: (layer: number | "all", token: number | "answer"): Key<NeuronActivity> => `neurons/${layer}/${token}`,
  /** Activation of one neuron along the tokens. */
  neuronActivations: (side: Side, layer: number, neuron: number): Key<Tensor> => `activations/${side}/${layer}/neuron/${neuron}`,
  /** One neuron of both models with words. */
  neuronWords: (layer: number, neuron: number): Key<NeuronWords> => `neuron/${layer}/${neuron}`,
  /** What one neuron adds to an answer token, exactly, nats. */
  neuronAblation: (side: Side, layer: number, neuron: number, answerToken: number | "answer"): Key<Tensor> => `neuron/ablation/${side}/${layer}/${neuron}/${answerToken}`,
  /** Whether a neuron's value vector moved, or the neuron is used more. */
  neuronChange: (layer: number, neuron: number, token: number | "answer"): Key<NeuronChange> => `neuron/change/${layer}/${neuron}/${token}`,
  /** A Bokeh chart, as BokehJS embeds it. */
  chart: (chart: string, theme: (typeof THEMES)[number]): Key<Record<string, unknown>> => `chart/${chart}/${theme}`,
  /** What charts use of BokehJS, of the installed Bokeh, so that both halves have one version. */
  bokehScript: (): Key<string> => "asset/bokehjs",
};

/** Measures of the rows of attention. */
export const headMeasures = {
  instruction: keys.headInstruction,
  sink: keys.headSink,
  received: keys.headReceived,
  entropy: keys.headEntropy,
  previous: keys.headPrevious,
} as const;

/** How far the parts of a layer moved. */
export const shifts = {
  attention: keys.shiftAttention,
  feed_forward: keys.shiftFeedForward,
  residual: keys.shiftResidual,
} as const;

const GROWING = [
  /^saliency\/[^/]+\/[^/]+\/so_far$/,
  /^faithfulness\/[^/]+\/[^/]+$/,
  /^heads\/ablation\/[^/]+\/[^/]+\/[^/]+\/so_far$/,
];

/** Whether a block says how far a computation has come: it is no answer for good. */
export function grows(key: string): boolean {
  return GROWING.some((pattern) => pattern.test(key));
}
