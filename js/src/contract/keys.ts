// Keys of blocks, each with the form of what it gives.

import type {
  Alternatives,
  Component,
  DeletionCurve,
  Ends,
  Faithfulness,
  LayerRotation,
  Lens,
  Neuron,
  NeuronActivity,
  NeuronChange,
  Side,
  WordHeads,
  WordPairs,
  WordPlaces,
} from "./contract.ts";
import type { Tensor } from "./decode.ts";

/** Key of a block whose value is a `T`. */
export type Key<T> = string & { readonly __form?: T };

const tensor = (key: string) => key as Key<Tensor>;

export const keys = {
  saliency: (side: Side, method: string) => tensor(`saliency/${side}/${method}`),
  saliencyColumn: (side: Side, method: string, m: number) =>
    tensor(`saliency/${side}/${method}/${m}`),
  saliencySoFar: (side: Side, method: string) => tensor(`saliency/${side}/${method}/so_far`),
  faithfulness: (side: Side, method: string) =>
    `faithfulness/${side}/${method}` as Key<Faithfulness>,
  deletion: (side: Side, method: string) => `deletion/${side}/${method}` as Key<DeletionCurve>,
  groups: (unit: string) => `groups/${unit}` as Key<number[][]>,
  logprob: (side: Side) => tensor(`logprob/${side}`),
  alternatives: (side: Side) => `alternatives/${side}` as Key<Alternatives>,
  disagreement: () => tensor("disagreement"),

  attention: (side: Side, layer: number, head: number) =>
    tensor(`attention/${side}/${layer}/${head}`),
  headsChange: () => tensor("heads/change"),
  heads: (measure: string, side: Side) => tensor(`heads/${measure}/${side}`),
  headsWrite: (side: Side, layer: number, unit: string) =>
    tensor(`heads/write/${side}/${layer}/${unit}`),
  headsEffect: (side: Side, on: string) => tensor(`heads/effect/${side}/${on}`),
  headsAblation: (side: Side, kind: string, on: string) =>
    tensor(`heads/ablation/${side}/${kind}/${on}`),
  headsAblationSoFar: (side: Side, kind: string, on: string) =>
    tensor(`heads/ablation/${side}/${kind}/${on}/so_far`),
  headsAblationOne: (side: Side, kind: string, on: string, layer: number, head: number) =>
    tensor(`heads/ablation/${side}/${kind}/${on}/${layer}/${head}`),
  headsCircuits: () => tensor("heads/circuits"),
  wordPairsInfo: () => "word_pairs/info" as Key<object>,
  wordPairsCounts: () => tensor("word_pairs/counts"),
  wordPairs: (layer: number, head: number) => `word_pairs/${layer}/${head}` as Key<WordPairs>,
  wordPairsFind: (word: string) => `word_pairs/find/${word}` as Key<WordHeads>,

  shift: (part: "attention" | "feed_forward" | "residual") => tensor(`shift/${part}`),
  lens: (side: Side, token: number) => `lens/${side}/${token}` as Key<Lens>,

  componentsChange: () => tensor("components/change"),
  components: (layer: number) => `components/${layer}` as Key<Component[]>,
  componentsEnds: (layer: number) => `components/${layer}/ends` as Key<Ends[]>,
  componentActivations: (side: Side, layer: number) =>
    tensor(`activations/${side}/${layer}/components`),
  baseComponentActivations: (layer: number) => tensor(`activations/tuned/${layer}/base_components`),
  conceptsFind: (word: string) => `concepts/find/${word}` as Key<WordPlaces>,
  rotation: () => "rotation" as Key<LayerRotation[]>,
  neurons: (layer: number | "all", token: number | "answer") =>
    `neurons/${layer}/${token}` as Key<NeuronActivity>,
  neuronsEffect: (side: Side, on: string) => tensor(`neurons/effect/${side}/${on}`),
  neuronAblation: (side: Side, layer: number, neuron: number, on: string) =>
    tensor(`neuron/ablation/${side}/${layer}/${neuron}/${on}`),
  neuronChange: (layer: number, neuron: number, token: number | "answer") =>
    `neuron/change/${layer}/${neuron}/${token}` as Key<NeuronChange>,
  neuron: (layer: number, neuron: number) => `neuron/${layer}/${neuron}` as Key<Neuron>,
  neuronActivations: (side: Side, layer: number, neuron: number) =>
    tensor(`activations/${side}/${layer}/neuron/${neuron}`),

  bokehjs: () => "asset/bokehjs" as Key<string>,
  chart: (name: string, theme: string) => `chart/${name}/${theme}` as Key<object>,
};
