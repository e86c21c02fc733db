// Feed-forward layers on one text: components, neurons, and the words they point to.

import {
  type ActiveNeuron,
  type ComponentPlace,
  keys,
  type NeuronChange,
  type NeuronWords,
  SIDES,
  type Side,
  type SideOfNeuron,
  type Word,
  type WordPlaces,
} from "../contract/contract.ts";
import type { Tensor } from "../contract/decode.ts";
import { parseUnit, readingPosition } from "../contract/units.ts";
import { denseOf } from "./model.ts";
import { without } from "./occlusion.ts";
import { provides } from "./provide.ts";
import type { Subject } from "./subject.ts";

/** Neurons taken from each ranking; words of a vector after the final norm; places of a word. */
const [NEURONS, NORMED, FOUND] = [6, 15, 20];
/** Tokens that differ in blanks are one word: so many are looked at for each that is wanted. */
const VARIANTS = 3;

/** Components of a layer of base, or those of tuned matched to them, [K, hidden]. */
function directions(subject: Subject, side: Side, layer: number): Tensor {
  return subject.pair.known(`${side}/${layer}`) as Tensor;
}

/** What each neuron of a layer writes, [hidden, intermediate]. */
function values(subject: Subject, side: Side, layer: number): Float32Array {
  const { sizes, layers } = subject.pair.models[side];
  return subject.once(`values/${side}/${layer}`, () =>
    denseOf(subject.pair.heap, layers[layer]!.down, sizes.hidden, sizes.intermediate),
  );
}

export function valueVector(
  subject: Subject,
  side: Side,
  layer: number,
  neuron: number,
): Float32Array {
  const { hidden, intermediate } = subject.pair.models[side].sizes;
  const all = values(subject, side, layer);
  return Float32Array.from({ length: hidden }, (_, i) => all[i * intermediate + neuron]!);
}

/** Length of what each neuron writes when it is 1. */
function norms(subject: Subject, side: Side, layer: number): Float32Array {
  return subject.once(`norms/${side}/${layer}`, () => {
    const { hidden, intermediate } = subject.pair.models[side].sizes;
    const squares = new Float64Array(intermediate);
    const all = values(subject, side, layer);
    for (let i = 0; i < hidden * intermediate; i++) squares[i % intermediate]! += all[i]! ** 2;
    return Float32Array.from(squares, Math.sqrt);
  });
}

/** The direction of a unit such as `component:2`, of length 1. */
export function directionOf(
  subject: Subject,
  side: Side,
  layer: number,
  unit: string,
): Float32Array {
  const { kind, index } = parseUnit(unit) ?? { kind: "component", index: 0 };
  const { hidden } = subject.pair.models[side].sizes;
  if (kind === "component") {
    const { data } = directions(subject, side, layer);
    return (data as Float32Array).slice(index * hidden, (index + 1) * hidden);
  }
  const vector = valueVector(subject, side, layer, index);
  const length = norm(vector) || 1;
  return vector.map((value) => value / length);
}

function norm(vector: ArrayLike<number>): number {
  return Math.sqrt(dot(vector, vector));
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>, from = 0): number {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += a[i]! * b[from + i]!;
  return total;
}

/** Feed-forward output of a side along the components of one of them, [T, K]. */
function along(subject: Subject, side: Side, whose: Side, layer: number): Tensor {
  const { hidden } = subject.pair.models[side].sizes;
  const { data, shape } = directions(subject, whose, layer);
  const count = shape[0]!;
  const outputs = subject.capture(side).feedForward[layer]!;
  const length = subject.length(side);
  const made = new Float32Array(length * count);
  for (let t = 0; t < length; t++) {
    const row = outputs.subarray(t * hidden, (t + 1) * hidden);
    for (let k = 0; k < count; k++) made[t * count + k] = dot(row, data, k * hidden);
  }
  return { shape: [length, count], data: made };
}

/** Activations where a token is read, or their mean magnitude over the answer. */
function activations(subject: Subject, side: Side, layer: number, token: number | "answer") {
  const { intermediate } = subject.pair.models[side].sizes;
  const all = subject.capture(side).neurons[layer]!;
  if (token !== "answer") {
    const at = readingPosition(token, subject.promptLength);
    return all.subarray(at * intermediate, (at + 1) * intermediate);
  }
  const [from, to] = [subject.promptLength - 1, subject.length(side) - 1];
  const mean = new Float32Array(intermediate);
  for (let i = from * intermediate; i < to * intermediate; i++) {
    mean[i % intermediate]! += Math.abs(all[i]!) / (to - from);
  }
  return mean;
}

const reads = (subject: Subject, side: Side, token: number | "answer") =>
  token === "answer" || token < subject.length(side);

/** The most active neurons of each model, and the most changed ones. */
function listed(subject: Subject, layer: number | "all", token: number | "answer"): ActiveNeuron[] {
  const { layers, intermediate } = subject.pair.models.base.sizes;
  const chosen = layer === "all" ? Array.from({ length: layers }, (_, i) => i) : [layer];
  const sides = SIDES.filter((side) => reads(subject, side, token));
  const rows = sides.map((side) => chosen.map((at) => activations(subject, side, at, token)));
  const written = rows.map((layersOf, s) =>
    layersOf.flatMap((row, i) =>
      Array.from(row, (value, n) => value * norms(subject, sides[s]!, chosen[i]!)[n]!),
    ),
  );
  const strengths = written.map((row) => row.map(Math.abs));
  if (written.length === 2) {
    strengths.push(written[0]!.map((value, i) => Math.abs(written[1]![i]! - value)));
  }
  const best = (i: number) => Math.max(...strengths.map((row) => row[i]!));
  const places = new Set(
    strengths.flatMap((row) =>
      row
        .map((_, i) => i)
        .sort((a, b) => row[b]! - row[a]! || a - b)
        .slice(0, NEURONS),
    ),
  );
  return [...places]
    .sort((a, b) => best(b) - best(a) || a - b)
    .map((place) => {
      const [at, neuron] = [Math.floor(place / intermediate), place % intermediate];
      const value = (side: Side) => rows[sides.indexOf(side)]?.[at]?.[neuron] ?? null;
      return { layer: chosen[at]!, neuron, base: value("base"), tuned: value("tuned") };
    });
}

/** Output embeddings of the tokens, [vocabulary, hidden], and their lengths. */
function rowsOf(subject: Subject, side: Side): { rows: Float32Array; lengths: Float32Array } {
  return subject.once(`words/${side}`, () => {
    const { sizes, unembedding } = subject.pair.models[side];
    const rows = denseOf(subject.pair.heap, unembedding, sizes.vocabulary, sizes.hidden);
    const lengths = Float32Array.from({ length: sizes.vocabulary }, (_, i) =>
      norm(rows.subarray(i * sizes.hidden, (i + 1) * sizes.hidden)),
    );
    return { rows, lengths };
  });
}

/** Cosine of a direction with every word; 0 where a token is none. */
function cosines(subject: Subject, side: Side, direction: Float32Array): Float32Array {
  const { rows, lengths } = rowsOf(subject, side);
  const own = norm(direction) || 1;
  return Float32Array.from(lengths, (length, i) =>
    subject.pair.words[i] ? dot(direction, rows, i * direction.length) / own / (length || 1) : 0,
  );
}

/** Words by the magnitude of their cosine with a direction. */
function nearest(subject: Subject, side: Side, direction: Float32Array, count: number): Word[] {
  const all = cosines(subject, side, direction);
  const places = Array.from(all, (_, i) => i).filter((i) => all[i] !== 0);
  const end = (sign: number) => {
    const cosineOf = new Map<string, number>();
    const some = places
      .filter((i) => all[i]! * sign > 0)
      .sort((a, b) => (all[b]! - all[a]!) * sign)
      .slice(0, Math.max(count, NORMED) * VARIANTS);
    for (const i of some)
      if (!cosineOf.has(subject.pair.words[i]!)) cosineOf.set(subject.pair.words[i]!, all[i]!);
    return [...cosineOf].slice(0, Math.max(count, NORMED));
  };
  const merged = new Map<string, number>();
  const both = [...end(1), ...end(-1)].sort(([, a], [, b]) => Math.abs(b) - Math.abs(a));
  for (const [word, cosine] of both) if (!merged.has(word)) merged.set(word, cosine);
  return [...merged].slice(0, count).map(([word, cosine]) => [word, +cosine.toFixed(6)]);
}

/** Words are those of the tokens, unless the pair was given others. */
function checkWords(subject: Subject): void {
  if (subject.manifest.parameters.vocabulary !== "tokens") {
    throw new Error("In a page the words of neurons are those of the tokens alone.");
  }
}

function neuronWords(subject: Subject, layer: number, neuron: number): NeuronWords {
  checkWords(subject);
  const words = Number(subject.manifest.parameters.words);
  const vectors = SIDES.map((side) => valueVector(subject, side, layer, neuron));
  const [base, tuned] = SIDES.map((side, i): SideOfNeuron => {
    const vector = vectors[i]!;
    const { norm: gain } = subject.pair.models[side];
    const gains = subject.pair.heap.view(gain, vector.length);
    const normed = vector.map((value, at) => value * gains[at]!);
    return {
      norm: norm(vector),
      words: nearest(subject, side, vector, words),
      normed: nearest(subject, side, normed, NORMED),
    };
  }) as [SideOfNeuron, SideOfNeuron];
  return { base, tuned, cosine: cosine(vectors[0]!, vectors[1]!) };
}

function cosine(a: Float32Array, b: Float32Array): number {
  return dot(a, b) / (norm(a) * norm(b) || 1);
}

function neuronChange(
  subject: Subject,
  layer: number,
  neuron: number,
  token: number | "answer",
): NeuronChange {
  const vectors = SIDES.map((side) => valueVector(subject, side, layer, neuron));
  const [base, tuned] = SIDES.map((side) =>
    reads(subject, side, token) ? activations(subject, side, layer, token)[neuron]! : null,
  ) as [number | null, number | null];
  const [own, theirs] = vectors.map(norm) as [number, number];
  const apart = norm(vectors[1]!.map((value, i) => value - vectors[0]![i]!));
  return {
    moved: own ? apart / own : null,
    cosine: cosine(vectors[0]!, vectors[1]!),
    base,
    tuned,
    used: base === null || tuned === null ? null : Math.abs(tuned) - Math.abs(base),
    write: {
      base: base === null ? null : base * own,
      tuned: tuned === null ? null : tuned * theirs,
    },
  };
}

/** What an answer token, or the answer, loses where one neuron is zero. */
function neuronAblation(
  subject: Subject,
  side: Side,
  layer: number,
  neuron: number,
  token: number | "answer",
): Tensor {
  const { intermediate } = subject.pair.models[side].sizes;
  const lost = without(subject, side, layer, (stage, at, values) => {
    if (stage !== "neurons" || at !== layer) return;
    for (let i = neuron; i < values.length; i += intermediate) values[i] = 0;
  });
  const effect = token === "answer" ? lost.reduce((sum, nats) => sum + nats, 0) : lost[token]!;
  return { shape: [1], data: Float32Array.of(effect) };
}

/** Components in which a word stands out. */
function find(subject: Subject, word: string): WordPlaces {
  checkWords(subject);
  const text = word.trim();
  const places = subject.pair.words.flatMap((token, i) => (token === text && text ? [i] : []));
  if (!places.length) {
    throw new Error(`“${text}” is no token of these models: in a page only those are looked for.`);
  }
  const nearestOf = (side: Side): ComponentPlace[] => {
    const { layers, hidden } = subject.pair.models[side].sizes;
    const { rows, lengths } = rowsOf(subject, side);
    const all: [layer: number, k: number, cosine: number, direction: Float32Array][] = [];
    for (let layer = 0; layer < layers; layer++) {
      const { data, shape } = subject.pair.known(`own/${side}/${layer}`) as Tensor;
      for (let k = 0; k < shape[0]!; k++) {
        const direction = (data as Float32Array).subarray(k * hidden, (k + 1) * hidden);
        const cosines = places.map((i) => dot(direction, rows, i * hidden) / (lengths[i]! || 1));
        const best = cosines.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a));
        all.push([layer, k, best, direction]);
      }
    }
    all.sort((a, b) => Math.abs(b[2]) - Math.abs(a[2]));
    return all.slice(0, FOUND).map(([layer, k, best, direction]) => {
      const least = Math.abs(best) * (1 + 1e-6);
      const ahead = new Set<string>();
      for (const [i, value] of cosines(subject, side, direction).entries()) {
        if (Math.abs(value) > least) ahead.add(subject.pair.words[i]!);
      }
      ahead.delete(text);
      return [layer, k, best, 1 + ahead.size];
    });
  };
  return { word: text, base: nearestOf("base"), tuned: nearestOf("tuned") };
}

export const CONCEPTS = [
  provides(keys.componentActivations, (subject, side, layer) => along(subject, side, side, layer)),
  provides(keys.baseComponentActivations, (subject, layer) =>
    along(subject, "tuned", "base", layer),
  ),
  provides(keys.neurons, listed),
  provides(keys.neuronActivations, (subject, side, layer, neuron) => {
    const { intermediate } = subject.pair.models[side].sizes;
    const all = subject.capture(side).neurons[layer]!;
    const length = subject.length(side);
    const data = Float32Array.from({ length }, (_, t) => all[t * intermediate + neuron]!);
    return { shape: [length], data };
  }),
  provides(keys.neuronWords, neuronWords),
  provides(keys.neuronChange, neuronChange),
  provides(keys.neuronAblation, neuronAblation),
  provides(keys.conceptFind, (subject, word) => find(subject, String(word))),
];
