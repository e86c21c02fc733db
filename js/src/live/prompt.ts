// From what a person writes to the tokens that both models read, and to those of an answer.

import type { Answer, Mark, Segment, Token } from "../contract/contract.ts";
import type { Span, Tokenizer } from "./tokenizer.ts";
import { stripped, withoutLeading } from "./tokenizer.ts";

/** What a chat template puts around a message, and whether it takes blanks off its ends. */
export interface Template {
  before: string;
  behind: string;
  trims: boolean;
  /** As the model's authors wrote it. */
  source: string;
}

export interface Prompt {
  /** What the models read, template included. */
  text: string;
  tokens: Token[];
  /** Where what was written stands in it. */
  content: Span;
}

/** What is marked in a prompt: code points of what was written. */
export type Marked = Partial<Record<Mark[2], readonly Span[]>>;

const size = (text: string) => [...text].length;

export function readPrompt(
  cutter: Tokenizer,
  written: string,
  template: Template | null,
  marked: Marked,
): Prompt {
  const core = stripped(written);
  const before = template?.before ?? "";
  const lead = size(written) - size(withoutLeading(written));
  const first = size(before) + (template?.trims ? 0 : lead);
  const content: Span = [first, first + size(core)];
  const text = before + (template?.trims ? core : written) + (template?.behind ?? "");
  const encoded = cutter.encode(text);
  const front = template ? [] : cutter.data.front;
  const has = front.every((id, i) => encoded.ids[i] === id);
  const added = has ? [] : front;
  const ids = [...added, ...encoded.ids];
  const touched = [...added.map((): Span => [0, 0]), ...encoded.touched];
  const places = apart(touched, added.length);
  const points = [...text];
  const special = new Set(cutter.data.special);
  const tokens = ids.map((id, i): Token => {
    let segment: Segment = "other";
    if (i < added.length || special.has(id)) segment = "special";
    else if (template && !inside(touched[i]!, content)) segment = "template";
    const [from, to] = places[i]!;
    const piece = cutter.piece(id);
    const shown = segment === "special" ? piece : label(piece, points.slice(from, to).join(""));
    return { id, text: shown, start: from, end: to, segment };
  });
  const shift = first - lead;
  for (const name of ["context", "instruction"] as const) {
    const spans = (marked[name] ?? []).map(([from, to]): Span => [from + shift, to + shift]);
    for (const i of spanTokens(points, tokens, spans)) {
      const { segment } = tokens[i]!;
      if (segment !== "special" && segment !== "template") tokens[i]!.segment = name;
    }
  }
  return { text, tokens, content };
}

/** Spans that share no character: each belongs to the token that completes it. */
function apart(spans: readonly Span[], front: number): Span[] {
  const places: Span[] = [];
  let limit = Number.POSITIVE_INFINITY;
  for (const [from, to] of spans.slice(front).reverse()) {
    const end = Math.min(to, limit);
    limit = Math.min(from, end);
    places.push([limit, end]);
  }
  return [...spans.slice(0, front), ...places.reverse()];
}

/** Whether a token begins in a span, or holds a character of it. */
function inside([from, to]: Span, span: Span): boolean {
  return span[0] < span[1] && span[0] < Math.max(to, from + 1) && from < span[1];
}

/** A token's piece, with the blanks in front that its text has. */
function label(piece: string, covered: string): string {
  const word = withoutLeading(piece);
  if (!word) return piece || covered;
  return covered.slice(0, covered.length - withoutLeading(covered).length) + word;
}

/** The tokens that spans of a text stand for: from the first that has a character to the last. */
export function spanTokens(
  points: readonly string[],
  tokens: readonly Token[],
  spans: readonly Span[],
): number[] {
  const touches = (token: Token, [from, to]: Span) => {
    if (token.start === token.end && token.segment !== "special") {
      return from <= token.start && token.start < to && stripped(token.text) !== "";
    }
    const shared = points.slice(Math.max(token.start, from), Math.min(token.end, to)).join("");
    return stripped(shared) !== "" && token.text !== ' "';
  };
  const chosen = new Set<number>();
  for (const span of spans) {
    const run = tokens.flatMap((token, i) => (touches(token, span) ? [i] : []));
    for (let i = run[0] ?? 0; i <= (run.at(-1) ?? -1); i++) chosen.add(i);
  }
  return [...chosen].sort((a, b) => a - b);
}

/** Tokens that one character may be cut into. */
const MOST_BYTES = 8;

/** Tokens of an answer and its text, which leaves special tokens out. */
export function readAnswer(
  cutter: Tokenizer,
  ids: readonly number[],
  prompt: readonly number[],
): Pick<Answer, "tokens" | "text"> {
  const special = new Set(cutter.data.special);
  const before = context(cutter, prompt);
  const lead = [...cutter.decode(before)].length;
  const plain = ids.filter((id) => !special.has(id));
  const points = [...cutter.decode([...before, ...plain])].slice(lead);
  const tokens: Token[] = [];
  let [read, from] = [0, 0];
  for (const id of ids) {
    const piece = cutter.piece(id);
    if (special.has(id)) {
      tokens.push({ id, text: piece, start: from, end: from, segment: "special" });
      continue;
    }
    const far = [...cutter.decode([...before, ...plain.slice(0, ++read)])].slice(lead);
    let end = from;
    while (end < Math.min(points.length, far.length) && points[end] === far[end]) end++;
    if (read === plain.length) end = points.length;
    const text = label(piece, points.slice(from, end).join(""));
    tokens.push({ id, text, start: from, end, segment: "other" });
    from = end;
  }
  return { tokens, text: points.join("") };
}

/** The last tokens of a prompt, as many as make whole characters. */
function context(cutter: Tokenizer, ids: readonly number[]): number[] {
  for (let count = 1; count <= MOST_BYTES; count++) {
    const last = ids.slice(-count);
    if (!cutter.decode(last).includes("\ufffd")) return last;
  }
  return ids.slice(-1);
}
