// Exact effects: the text is read again with tokens of the prompt hidden from every other token.

import {
  type HiddenSegment,
  type HiddenSpan,
  keys,
  SIDES,
  type Side,
  type Token,
} from "../contract/contract.ts";
import type { Tensor } from "../contract/decode.ts";
import type { Cache, Runner, Visit } from "./pass.ts";
import { provides, type Work } from "./provide.ts";
import type { Subject } from "./subject.ts";
import { beginsBlank, endsBlank, stripped, withoutTrailing } from "./tokenizer.ts";

/** What is hidden together, by method. */
const UNITS = new Map([
  ["occlusion", "token"],
  ["occlusion_word", "word"],
  ["occlusion_sentence", "sentence"],
  ["occlusion_segment", "segment"],
]);
const HIDDEN = ["instruction", "context", "template"];
/** Points of a curve of deletion. */
const STEPS = 10;

/** A model's reading of a text, whose positions in front of what is hidden stay as they are. */
export interface Intact {
  runner: Runner;
  ids: readonly number[];
  promptLength: number;
  cache: Cache;
  /** Where the text is read anew. */
  again: Cache;
  /** Log-probability of each answer token. */
  logprobs: Float32Array;
}

/** Log-probabilities of the answer, each time with some prompt tokens hidden. */
export function hiding(intact: Intact, groups: readonly (readonly number[])[]): Float32Array[] {
  const { runner, ids, promptLength, logprobs } = intact;
  const made = groups.map(() => logprobs.slice());
  const readings = groups.map((hidden) => ({
    ids: ids.slice(0, -1),
    from: anew(hidden),
    cache: intact.again,
    like: intact.cache,
    hidden,
  }));
  runner.again(readings, promptLength - 1, ids.length - 1, (which, at, scores, sum) => {
    made[which]![at - promptLength + 1] = scores[ids[at + 1]!]! - sum;
  });
  return made;
}

/** The first that is hidden still looks at itself, so that it stays as it is, too. */
const anew = (hidden: readonly number[]) => Math.min(...hidden) + 1;

/** As many of the groups as can be read together; at least one. */
function batchOf<T extends readonly number[]>({ runner, ids }: Intact, groups: readonly T[]): T[] {
  let room = runner.most;
  const end = groups.findIndex((group, i) => {
    room -= ids.length - 1 - anew(group);
    return i > 0 && room < 0;
  });
  return groups.slice(0, end < 0 ? groups.length : end);
}

/** Read a text, which need not be the subject's own. */
export function intactOf(runner: Runner, ids: readonly number[], promptLength: number): Intact {
  const cache = runner.cache();
  const logprobs = new Float32Array(ids.length - promptLength);
  const reading = { ids: ids.slice(0, -1), cache };
  runner.run(reading, promptLength - 1, ids.length - 1, (at, scores, sum) => {
    logprobs[at - promptLength + 1] = scores[ids[at + 1]!]! - sum;
  });
  return { runner, ids, promptLength, cache, again: runner.cache(), logprobs };
}

export function intact(subject: Subject, side: Side): Intact {
  return subject.once(`intact/${side}`, () =>
    intactOf(subject.runner(side), subject.ids[side], subject.promptLength),
  );
}

/** What each answer token loses by a change of one layer; what is in front of it stays as it is. */
export function without(subject: Subject, side: Side, layer: number, visit: Visit): Float64Array {
  const { runner, ids, promptLength, again, logprobs } = intact(subject, side);
  const stream = { layer, values: subject.capture(side).residual[layer]! };
  const reading = { ids: ids.slice(0, -1), cache: again, stream, visit };
  const lost = Float64Array.from(logprobs);
  runner.run(reading, promptLength - 1, ids.length - 1, (at, scores, sum) => {
    lost[at - promptLength + 1]! -= scores[ids[at + 1]!]! - sum;
  });
  return lost;
}

/** Effects of a method as far as they are known, NaN elsewhere. */
function table(subject: Subject, side: Side, method: string): Float32Array {
  if (!UNITS.has(method)) {
    throw new Error("This method cannot be computed in a page: trace the prompt in a notebook.");
  }
  const length = subject.promptLength * subject.answerLength(side);
  return subject.once(`occlusion/${side}/${method}`, () =>
    new Float32Array(length).fill(Number.NaN),
  );
}

function tensor(subject: Subject, side: Side, data: Float32Array): Tensor {
  return { shape: [subject.promptLength, subject.answerLength(side)], data: data.slice() };
}

function* matrix(subject: Subject, side: Side, method: string): Work<Tensor> {
  const known = table(subject, side, method);
  const width = subject.answerLength(side);
  const reading = intact(subject, side);
  const together = groups(subject.manifest.prompt_tokens, UNITS.get(method)!);
  for (;;) {
    // Others may have filled some meanwhile.
    const missing = together.filter((group) => Number.isNaN(known[group[0]! * width]));
    if (!missing.length) break;
    const batch = batchOf(reading, missing);
    for (const [i, without] of hiding(reading, batch).entries()) {
      for (const token of batch[i]!) {
        for (let m = 0; m < width; m++) {
          known[token * width + m] = reading.logprobs[m]! - without[m]!;
        }
      }
    }
    const done = together.length - missing.length + batch.length;
    yield { done, total: together.length, label: `exact effects, ${side}` };
  }
  return tensor(subject, side, known);
}

/** Loss of the answer as the tokens that matter most, or least, are hidden. */
function* deletion(subject: Subject, side: Side, method: string) {
  const { data } = yield* matrix(subject, side, method);
  const [n, m] = [subject.promptLength, subject.answerLength(side)];
  const weight = new Array<number>(n).fill(0);
  for (let i = 0; i < n * m; i++) weight[Math.floor(i / m)]! += data[i]!;
  const falling = weight.map((_, i) => i).sort((a, b) => weight[b]! - weight[a]!);
  const counts = [...new Set(Array.from({ length: STEPS + 1 }, (_, i) => toEven((n * i) / STEPS)))];
  const reading = intact(subject, side);
  const drops: number[][] = [];
  for (const order of [falling, [...falling].reverse()]) {
    const lost = [0];
    for (const count of counts.slice(1)) {
      const [without] = hiding(reading, [order.slice(0, count)]) as [Float32Array];
      lost.push(reading.logprobs.reduce((sum, value, i) => sum + value - without[i]!, 0));
      const done = drops.length * (counts.length - 1) + lost.length - 1;
      yield { done, total: 2 * (counts.length - 1), label: `hiding tokens, ${side}` };
    }
    drops.push(lost);
  }
  return { share: counts.map((count) => count / n), most: drops[0]!, least: drops[1]! };
}

/** Rounded as NumPy rounds: halves to the even number. */
function toEven(value: number): number {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

/** What a model answers by itself; null where it ends at once. */
function* ownAnswer(subject: Subject, side: Side): Work<number[] | null> {
  for (;;) {
    const answer = subject.own[side];
    if (answer) {
      const { ids, stopped } = answer;
      return ids.length && !(stopped && ids.length === 1) ? ids : null;
    }
    yield { done: 0, total: 0, label: `answer of ${side}` }; // it comes from the other worker
  }
}

/** What hiding each segment of the prompt costs each answer, in both models. */
function* segments(subject: Subject): Work<HiddenSegment[]> {
  const present = HIDDEN.filter((name) => subject.positions(name).length);
  if (!present.length) return [];
  const answers: [string, number[]][] = [];
  for (const side of [...SIDES].reverse()) {
    const ids = yield* ownAnswer(subject, side);
    if (ids) answers.push([side, ids]);
  }
  const prompt = subject.ids.base.slice(0, subject.promptLength);
  const rows: HiddenSegment[] = present.flatMap((segment) =>
    answers.map(([answer]) => ({ segment, answer, base: [], tuned: [] })),
  );
  for (const side of SIDES) {
    for (const [place, [answer, ids]] of answers.entries()) {
      const reading = intactOf(subject.runner(side), [...prompt, ...ids], prompt.length);
      for (const segment of present) {
        const [without] = hiding(reading, [subject.positions(segment)]) as [Float32Array];
        const row = rows.find((cost) => cost.segment === segment && cost.answer === answer)!;
        row[side] = Array.from(reading.logprobs, (value, i) => value - without[i]!);
      }
      yield { done: place + 1, total: answers.length, label: `hiding segments, ${side}` };
    }
  }
  return rows;
}

/** Spans elsewhere that the instruction is compared with. */
const SPANS = 8;

/** Spans of the prompt as long as the instruction, evenly spread, without its own tokens. */
function spansElsewhere(subject: Subject): number[][] {
  const size = subject.positions("instruction").length;
  const others = subject.manifest.prompt_tokens.flatMap(({ segment }, i) =>
    segment === "instruction" || segment === "special" ? [] : [i],
  );
  if (size === 0 || others.length < size) return [];
  const room = others.length - size;
  const starts = Array.from({ length: SPANS }, (_, i) => toEven((room * i) / (SPANS - 1)));
  return [...new Set(starts)].map((start) => others.slice(start, start + size));
}

/** What hiding as much as the instruction elsewhere costs tuned's answer, in both models. */
function* elsewhere(subject: Subject): Work<HiddenSpan[]> {
  const answer = yield* ownAnswer(subject, "tuned");
  const spans = answer ? spansElsewhere(subject) : [];
  const hidden = spans.map((span): HiddenSpan => ({ start: span[0]!, base: 0, tuned: 0 }));
  const prompt = subject.ids.base.slice(0, subject.promptLength);
  for (const side of SIDES) {
    const reading = intactOf(subject.runner(side), [...prompt, ...(answer ?? [])], prompt.length);
    for (const [i, span] of spans.entries()) {
      const [without] = hiding(reading, [span]) as [Float32Array];
      hidden[i]![side] = reading.logprobs.reduce((all, value, m) => all + value - without[m]!, 0);
      yield { done: i + 1, total: spans.length, label: `hiding other spans, ${side}` };
    }
  }
  return hidden;
}

export const OCCLUSION = [
  provides(keys.saliency, matrix),
  provides(keys.saliencySoFar, (subject, side, method) =>
    tensor(subject, side, table(subject, side, method)),
  ),
  provides(keys.deletion, deletion),
  provides(keys.hiddenSegments, segments),
  provides(keys.hiddenElsewhere, elsewhere),
];

const CLOSING = /["'”’)\]»]+$/u;
const ENDED = /[.!?:。！？：]$/u;

/** Positions that belong together, as `twinlens.traces.grouping` has them. */
export function groups(tokens: readonly Token[], unit: string): number[][] {
  if (unit === "token") return tokens.map((_, i) => [i]);
  if (unit === "segment") {
    const names = [...new Set(tokens.map(({ segment }) => segment))];
    return names.map((name) => tokens.flatMap(({ segment }, i) => (segment === name ? [i] : [])));
  }
  const begins = unit === "word" ? beginsWord : beginsSentence;
  const made: number[][] = [];
  for (const [i, token] of tokens.entries()) {
    const before = tokens[i - 1] ?? token;
    const apart = before.segment !== token.segment || token.segment === "special";
    if (i === 0 || apart || begins(before.text, token.text)) made.push([]);
    made.at(-1)!.push(i);
  }
  return made;
}

function beginsWord(before: string, text: string): boolean {
  return endsBlank(before) || beginsBlank(text);
}

function beginsSentence(before: string, text: string): boolean {
  // White space at a line's end stays with its line.
  if (before.includes("\n") && stripped(text)) return true;
  const ended = ENDED.test(withoutTrailing(before).replace(CLOSING, ""));
  return ended && stripped(text) !== "" && beginsWord(before, text);
}

export const GROUPS = [
  provides(keys.groups, (subject, grouping) => groups(subject.manifest.prompt_tokens, grouping)),
];
