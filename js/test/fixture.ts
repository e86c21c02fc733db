// A small made-up trace for tests: same keys and shapes as the Python side, numbers from the key.

import type { Manifest, Segment, Token } from "../src/contract/contract.ts";
import type { Tensor, Value } from "../src/contract/decode.ts";
import type { Model } from "../src/core/store.ts";
import { abortError, type Source } from "../src/sources/source.ts";

export const LAYERS = 3;
export const HEADS = 4;
export const COMPONENTS = 5;
export const NEURONS = 16;

const PROMPT: [string, Segment][] = [
  ["<s>", "special"],
  ["User:", "template"],
  [" Rewrite", "instruction"],
  [" this", "instruction"],
  [" dog", "context"],
  ["\n", "template"],
];

export const HOSTILE = [
  "<img src=x onerror=alert(1)>",
  "</script>",
  "👩‍💻",
  "שלום",
  "\\xf0",
  "\u202eevil",
];

function tokens(texts: [string, Segment][]): Token[] {
  return texts.map(([text, segment], id) => ({ id, text, start: id, end: id + 1, segment }));
}

export function manifest(changes: { shared?: boolean; hostile?: boolean } = {}): Manifest {
  const { shared = true, hostile = false } = changes;
  const extra: [string, Segment][] = hostile ? HOSTILE.map((text) => [text, "context"]) : [];
  const model = { revision: "sha256:00", dtype: "float32", parameters: 1e6 };
  const answer = (texts: string[], own: string) => ({
    tokens: tokens(texts.map((text) => [text, "other"])),
    text: texts.join(""),
    own_text: own,
    stopped: true,
  });
  const method = { measures: "Drop in nats.", source: "", cost: "", unit: "token" };
  return {
    pair: {
      base: { name: hostile ? HOSTILE[0]! : "base-model", ...model },
      tuned: { name: "tuned-model", ...model },
      architecture: "llama",
      layers: LAYERS,
      heads: HEADS,
      kv_heads: HEADS,
      hidden: 8,
      intermediate: 16,
      vocabulary: 100,
      note: "",
    },
    prompt: "",
    prompt_tokens: tokens([...PROMPT, ...extra]),
    answers: {
      base: answer(shared ? [" THE", " DOG"] : [" The", " dog", "."], "The dog."),
      tuned: answer([" THE", " DOG"], "THE DOG"),
    },
    response: shared ? "tuned" : "own",
    shared,
    methods: [
      { name: "gradient", title: "Gradient", exact: false, ...method },
      { name: "occlusion", title: "Occlusion", exact: true, ...method },
    ],
    parameters: {},
    schema: 1,
  };
}

export class FakeModel implements Model {
  saved = 0;
  state: Record<string, unknown>;
  #events = new EventTarget();

  constructor(made: Manifest, state: Record<string, unknown> = {}) {
    this.state = {
      token: -1,
      layer: -1,
      head: -1,
      unit: "",
      method: "gradient",
      theme: "light",
      presentation: false,
      _manifest: made,
      ...state,
    };
  }
  get(name: string): unknown {
    return this.state[name];
  }
  set(name: string, value: unknown): void {
    this.state[name] = value;
    this.#events.dispatchEvent(new Event(`change:${name}`));
  }
  save_changes(): void {
    this.saved++;
  }
  on(event: string, callback: () => void): void {
    this.#events.addEventListener(event, callback);
  }
  off(event: string, callback: () => void): void {
    this.#events.removeEventListener(event, callback);
  }
}

/** A number for a key and an index, between 0 and 1, the same every time. */
export function made(key: string, index: number): number {
  let hash = 2166136261 ^ index;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 16777619);
  hash = Math.imul(hash ^ (hash >>> 15), 2246822507);
  return ((hash ^ (hash >>> 13)) >>> 0) / 2 ** 32;
}

export function tensor(key: string, ...shape: number[]): Tensor {
  const length = shape.reduce((a, b) => a * b, 1);
  return { shape, data: Float32Array.from({ length }, (_, i) => made(key, i) * 2 - 1) };
}

export function attention(key: string, side: number): Tensor {
  const made = tensor(key, side, side);
  for (let q = 0; q < side; q++) {
    let sum = 0;
    for (let k = 0; k < side; k++) {
      const at = q * side + k;
      made.data[at] = k > q ? 0 : Math.abs(made.data[at]!) + 0.01;
      sum += made.data[at]!;
    }
    for (let k = 0; k < side; k++) made.data[q * side + k]! /= sum;
  }
  return made;
}

const WORDS = ["dog", "cat", "horse", "write", "compose", "red", "blue", "green", "house", "river"];

function words(key: string, extra: string[]): [string, number][] {
  const list = [...extra, ...WORDS.filter((_, i) => made(key, i) > 0.3)];
  return list.map((word, i) => [word, (i % 3 === 1 ? -1 : 1) * (0.6 - i * 0.04)]);
}

function ends(key: string): Record<"positive" | "negative", [string, number][]> {
  const list = words(key, []).map(([word, score]) => [word, Math.abs(score)] as [string, number]);
  return {
    positive: list.slice(0, 3),
    negative: list.slice(3).map(([word, score]) => [word, -score]),
  };
}

function prediction(key: string, m: number, token: string) {
  const logprob = -3 * made(key, m);
  return {
    ...{ logprob, rank: 1 + m, entropy: 0.5 },
    expects: [
      [" other", 0.6],
      [token, Math.exp(logprob)],
    ] as [string, number][],
  };
}

const FINDINGS = [
  {
    kind: "copies",
    title: "Tuned copies.",
    text: [
      ["token", "DOG"],
      ["", " rests on its twin in "],
      ["tuned", "tuned"],
    ],
    checked: "measured",
    panel: "saliency",
    selection: { token: 7, layer: -1, head: -1, unit: "" },
  },
  {
    kind: "carries",
    title: "Two parts of 8 carry it.",
    text: [["", "<b>Feed-forward 1</b> and head 2.3."]],
    checked: "measured as a set",
    panel: "carried",
    selection: { layer: 2, head: 3 },
  },
];

const PART = { nats: 1, share: 0.2 };
export const CARRIED = {
  ...{ shift: 4, kl: 5, goal: 0.8, count: 8, blocks: [], weights: [], random: [0.1, 0.3] },
  parts: [
    { kind: "feed_forward", layer: 1, head: -1, ...PART, together: 2, together_share: 0.6 },
    { kind: "head", layer: 2, head: 3, ...PART, together: 3.4, together_share: 0.9 },
  ],
};

/** An embedding and three layers, the output, attention and feed-forward block of each. */
const EXCHANGED: Tensor = {
  shape: [LAYERS + 1, 3, 2],
  data: Float32Array.from(
    [
      [0.1, 0, 0],
      [1, 0.5, -0.5],
      [3, 2, 0.25],
      [4, 0, 1],
    ]
      .flat()
      .flatMap((x) => [x, x / 8]),
  ),
};

const ORDERS = ["effect", "size", "first order", "random"];
export const UPDATE = {
  ...{ shift: 10, total: 10.02, count: 100, goal: 0.9, needed: 3, kept: 0.92, rest: 0.1 },
  ...{
    answer: "<img>DOG",
    random: [-1, 0.5],
    agreement: 0.9,
    dial: [
      [0, -10],
      [1, 0],
      [2, -3],
    ],
    dial_answers: ["cat", "<img>DOG", "DOGDOG"],
  },
  curves: ORDERS.map((order, i) => ({
    ...{ order, counts: [0, 1, 10, 100], kept: [0.1, 0.5 - i / 10, 0.9 - i / 10, 1] },
    needed: 3 + 20 * i,
  })),
  directions: [0, 1, 2].map((k) => ({
    ...{ index: 7 * k, layer: k, kind: k ? "o_proj" : "down_proj", direction: k, size: 2 },
    ...{ effect: 3 - 2 * k, lost: 0.1, measured: k ? null : 2.9, novelty: "new" },
    ...{ reads: [], writes: [["dog", 0.5]], heads: k ? [[1, 0.8]] : [] },
    ...{ neurons: k ? [] : [[3, 0.9]], tokens: [[1, 2.5]] },
  })),
};

/** Of a part of the update: less is lost without it. */
const dialOf = (part: string) => ({
  dial: UPDATE.dial.map(([scale, nats]) => [scale, nats! / 2]),
  dial_answers: [`without ${part}`, "<img>DOG", "DOG"],
});

/** Two tokens; with base's layers below tuned loses, and the other way round base gains. */
const HANDOVER = {
  base: {
    shape: [4, 2, 2],
    data: Float32Array.of(-1, 0, 0, 0, -1, 1, -1, 1, -4, 4, -2, 2, -6, 6, -3, 3),
  },
  tuned: {
    shape: [4, 2, 2],
    data: Float32Array.of(-6, 6, -3, 3, -1, 1, -2, 2, -1, 0, 0, 0, -1, 0, 0, 0),
  },
};

export const TEMPLATE = {
  left_out: [1, 5],
  ...{ base: [-4, -6], tuned: [-1, -0.5], base_plain: [-5, -8], tuned_plain: [-3, -7] },
  ...{ weights: [3, 5.5], template: [2, 6.5], together: [1, 4.5] },
};

/** Exact effects: two heads are measured, one so far; alone, any head. */
function ablation(key: string): Tensor {
  const parts = key.split("/");
  if (parts.length === 7) return tensor(key, 1);
  const all = tensor(parts.slice(0, 5).join("/"), LAYERS, HEADS);
  const known = parts.at(-1) === "so_far" ? [5] : [5, 7];
  return { ...all, data: all.data.map((x, i) => (known.includes(i) ? x : Number.NaN)) };
}

function wordPairs(key: string): Value {
  if (key === "word_pairs/info") return { words: 10, heads_changed: 5 };
  if (key === "word_pairs/find/translate") {
    return [
      [2, 1, 0, 4],
      [0, 3, 2, 1],
    ];
  }
  return {
    rows: [
      ["translate", "write", 0, 5],
      ["dog", "cat", 3, 2],
      ["red", "Translated", 2, 0],
    ],
    left_out: 1,
  };
}

export function value(made: Manifest, key: string): Value {
  const n = made.prompt_tokens.length;
  const parts = key.split("/");
  const side = parts.includes("base") ? "base" : "tuned";
  const m = made.answers[side].tokens.length;
  const length = n + m;
  const common = made.shared ? length : n;
  const list = () => words(key, made.pair.base.name.startsWith("<") ? HOSTILE : []);
  switch (parts[0]) {
    case "saliency": {
      if (parts.length === 3) return tensor(key, n, m);
      const column = Number(parts[3]);
      const { data } = tensor(parts.slice(0, 3).join("/"), n, m);
      return {
        shape: [n],
        data: Float32Array.from({ length: n }, (_, i) => data[i * m + column]!),
      };
    }
    case "findings":
      return FINDINGS as Value;
    case "answer":
      if (key !== "answer/steps") return { text: `what ${side} says`, stopped: false };
      return made.answers.tuned.tokens.map(({ text }, i) => ({
        base: prediction("logprob/base", i, text),
        tuned: prediction("logprob/tuned", i, text),
        ...{ kl: i ? 2 : 0, kl_back: i ? 1 : 0, shift: i ? "shifted" : "unshifted" },
      }));
    case "segments":
      return (["tuned", "base"] as const).map((answer) => ({
        ...{ segment: "instruction", answer, base: [1, 2], tuned: [4, 3.5] },
      }));
    case "carried":
      return CARRIED as Value;
    case "exchanged_neurons":
      return [3, 5, 8, 2, 0, 6, 7].map((neuron, i) => [neuron, 2 - i, 0.5 - i / 8]) as Value;
    case "exchanged":
      if (parts.length === 6) return tensor(key, 1, 2);
      return parts.length === 5 ? tensor(key, HEADS, 2) : EXCHANGED;
    case "update":
      if (parts[1] === "dial") return dialOf(parts[2]!);
      return (parts[1] === "finding" ? [] : UPDATE) as Value;
    case "handover":
      return HANDOVER[side] as Value;
    case "template":
      return TEMPLATE as Value;
    case "faithfulness":
      return {
        ...{ spearman: side === "base" ? 0.1 : 0.5, pearson: 0.2, top1: 0.5, above_noise: 0.4 },
        ...{ columns: 2, columns_top1: 2, n: n * m, cells: n * m },
      };
    case "deletion":
      return { share: [0, 0.5, 1], most: [0, 2, 3], least: [0, 1, 3] };
    case "logprob":
    case "disagreement":
      return tensor(key, m);
    case "alternatives":
      return Array.from({ length: m }, () => [["x", 0.5]]);
    case "attention":
      return attention(key, length);
    case "heads":
      if (parts[1] === "change") return tensor(key, common, LAYERS, HEADS);
      if (parts[1] === "effect") return tensor(key, LAYERS, HEADS);
      if (parts[1] === "circuits") return tensor(key, LAYERS, HEADS, 4);
      if (parts[1] === "ablation") return ablation(key);
      return tensor(key, parts[1] === "received" ? n : length, LAYERS, HEADS);
    case "word_pairs":
      return wordPairs(key);
    case "components":
      if (parts[1] === "change") return tensor(key, LAYERS);
      if (parts[2] === "ends") {
        return Array.from({ length: COMPONENTS }, (_, k) => ({
          base: ends(`${key}base${k}`),
          tuned: ends(`${key}tuned${k}`),
        }));
      }
      return Array.from({ length: COMPONENTS }, (_, k) => ({
        base: { explained: 0.2, words: list() },
        tuned: {
          index: COMPONENTS - 1 - k,
          explained: 0.1,
          words: words(`${key}tuned`, []),
        },
        cosine: 0.9,
        angle: 10 + k,
      }));
    case "activations":
      return parts.at(-1)!.endsWith("components")
        ? tensor(key, length, COMPONENTS)
        : tensor(key, length);
    case "concepts":
      return { word: parts[2], base: [[1, 2, 0.5, 3]], tuned: [[2, 0, -0.4, 1]] };
    case "rotation":
      return Array.from({ length: LAYERS }, (_, layer) => ({
        ...{ layer, k: 3, angle: 10 * layer, null: 60, inside: 0.5, own: 0.6, null_inside: 0.2 },
        ...{ weights: 0.1, added: words(`${key}${layer}`, []) },
      }));
    case "units": {
      const rows = [
        { unit: "neuron:3", base: 0.5, tuned: -2 },
        { unit: "component:2", base: 0, tuned: 1 },
        { unit: "component:1", base: 0.25, tuned: null },
      ];
      return parts[3] ? rows.map((row) => ({ ...row, tuned: 0.01 })).slice(1) : rows;
    }
    case "neurons":
      if (parts[1] === "effect") return tensor(key, LAYERS, NEURONS);
      return [
        { neuron: 7, base: 0.5, tuned: -0.25 },
        { neuron: 9, base: 0.1, tuned: 0.9 },
      ];
    case "neuron":
      if (parts[1] === "ablation") return tensor(key, 1);
      if (parts[1] === "change") {
        const use = { moved: 0.02, cosine: 0.99, base: 0.5, tuned: 1, used: 0.5 };
        return { ...use, write: { base: 1, tuned: 2 } };
      }
      return { base: { norm: 1, words: list() }, tuned: { norm: 1, words: list() }, cosine: 0.5 };
    default:
      throw new Error(`no ${key} here`);
  }
}

export interface TestSource extends Source {
  asked: string[];
  cancelled: string[];
}

/** A source that answers in the next task, and counts. */
export function source(made: Manifest, wait = 0): TestSource {
  const asked: string[] = [];
  const cancelled: string[] = [];
  return {
    asked,
    cancelled,
    has: () => false,
    get(key, signal) {
      asked.push(key);
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          try {
            resolve(value(made, key));
          } catch (error) {
            reject(error);
          }
        }, wait);
        signal.addEventListener("abort", () => {
          clearTimeout(timer);
          cancelled.push(key);
          reject(abortError());
        });
      });
    },
  };
}
