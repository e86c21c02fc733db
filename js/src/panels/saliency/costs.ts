// What hiding a whole part of the prompt costs, measured, and the published score beside it.

import {
  type BySide,
  type HiddenSegment,
  keys,
  type Method,
  PUBLISHED,
  SIDES,
  type Side,
} from "../../contract/contract.ts";
import { both, type Got } from "../../core/load.ts";
import type { State } from "../../core/state.ts";
import { fill, h, table } from "../../draw/dom.ts";
import { number, quote } from "../../draw/format.ts";
import { instructionScore } from "../../maths/density.ts";
import { type Memo, memo } from "../../maths/memo.ts";
import { eachSide } from "../../maths/numbers.ts";
import { densityOf } from "./bars.ts";
import type { Facts } from "./facts.ts";
import { columnsOf, focusOf } from "./focus.ts";
import { estimated, type Table } from "./table.ts";

/** Nats that hiding a segment costs one answer, in both models. */
interface Cost extends BySide<number> {
  segment: string;
  answer: string;
}

/** The paper's instruction score of both models, from the effects of one method. */
interface Score extends BySide<number> {
  method: Method;
}

/** By method what was worked out last: another head changes none of it. */
type Made = Map<string, Memo<BySide<number> | null>>;

export function saliencyCosts() {
  const el = h("div", { class: "tl-costs" });
  const made: Made = new Map();
  return {
    el,
    /** `beside` are blocks that the picture does not wait for. */
    draw(state: State, facts: Facts, beside: Got) {
      const costs = costsOf(state, beside);
      const scores = scoresOf(state, facts, beside, made);
      fill(
        el,
        ...(state.marks ? [spansMoved()] : []),
        ...(costs.length ? [costTable(state, costs)] : []),
        ...(scores.length ? [scoreLine(state, scores)] : []),
        ...disagreement(state, costs, scores),
      );
    },
  };
}

function spansMoved(): HTMLElement {
  const text =
    "What hiding a segment costs was measured for the spans of the trace, not for these.";
  return h("p", { class: "tl-score" }, text);
}

/** Of the selected tokens of the answer that is read, and of the whole of any other. */
function costsOf(state: State, beside: Got): Cost[] {
  if (state.marks) return []; // measured for the spans of the trace
  const hidden = beside(keys.hiddenSegments()).value ?? [];
  return hidden.map((row) => ({
    segment: row.segment,
    answer: row.answer,
    ...eachSide((side) => sum(row[side], isRead(state, row) ? columnsOf(state, side) : null)),
  }));
}

function isRead(state: State, { answer }: Pick<HiddenSegment, "answer">): boolean {
  return state.manifest.shared && answer === state.manifest.response;
}

function sum(values: readonly number[], columns: readonly number[] | null): number {
  return (columns ?? values.map((_, i) => i)).reduce((total, m) => total + (values[m] ?? 0), 0);
}

function costTable(state: State, costs: readonly Cost[]): HTMLElement {
  const answers = [...new Set(costs.map((cost) => cost.answer))];
  answers.sort(
    (a, b) => Number(isRead(state, { answer: b })) - Number(isRead(state, { answer: a })),
  );
  const segments = [...new Set(costs.map((cost) => cost.segment))];
  const cell = (cost: Cost, side: Side) =>
    h(
      "span",
      { class: "tl-cost", "data-side": side, "data-value": cost[side] },
      `${side} ${nats(cost[side])}`,
    );
  const names = ["Hiding all of it costs, nats", ...answers.map((of) => answerName(state, of))];
  return table(
    { class: "tl-cost-table" },
    names.map((name) => h("th", { scope: "col" }, name)),
    segments.map((segment) =>
      h(
        "tr",
        { "data-segment": segment },
        h("th", { scope: "row" }, segment),
        ...answers.map((answer) => {
          const cost = costs.find((row) => row.segment === segment && row.answer === answer);
          return h("td", {}, ...(cost ? SIDES.map((side) => cell(cost, side)) : []));
        }),
      ),
    ),
  );
}

function answerName(state: State, answer: string): string {
  const { token } = state.selection;
  const focus = focusOf(state);
  if (isRead(state, { answer })) {
    if (focus === "answer token") return `the answer token ${quote(state.text(token), 14)}`;
    if (focus === "span") return "the chosen answer tokens";
  }
  if (answer === "given") return "the given answer";
  return isRead(state, { answer }) ? `${answer}’s answer, read by both` : `${answer}’s own answer`;
}

/** Two digits after the point are more than enough of a sum. */
function nats(value: number): string {
  const text = value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
  return text.replace(/^-(?=0\.?0*$)/, "").replace("-", "−");
}

/** From the published method, and from the chosen one where that is another and complete. */
function scoresOf(state: State, { run, tables }: Facts, beside: Got, made: Made): Score[] {
  if (focusOf(state) === "prompt token" || focusOf(state) === "answer token") return [];
  const { methods } = state.manifest;
  const published = methods.find(({ name }) => name === PUBLISHED);
  // What is still being measured has no score yet.
  const chosen = run && run.status !== "done" ? undefined : state.method;
  const wanted = [published, chosen].filter(
    (method, i, all) => method && all.indexOf(method) === i,
  );
  return wanted.flatMap((method) => {
    const { name } = method!;
    const tensors = method === chosen ? null : both(beside, (side) => keys.saliency(side, name));
    const from = tensors ?? (method === chosen ? tables : null);
    const parts = [from?.base, from?.tuned, state.segments, state.options.saliency];
    if (!made.has(name)) made.set(name, memo());
    const score = made.get(name)!([...parts, state.selection.token], () =>
      scoreOf(
        state,
        eachSide((side) =>
          tensors
            ? estimated(tensors[side].data, state.answer(side).tokens.length)
            : (from?.[side] as Table | null),
        ),
      ),
    );
    return score ? [{ method: method!, ...score }] : [];
  });
}

function scoreOf(state: State, tables: BySide<Table | null>): BySide<number> | null {
  const instruction = state.marked("instruction");
  if (instruction.length === 0) return null;
  const densities = eachSide((side) => tables[side] && densityOf(state, side, tables[side]));
  const { base, tuned } = densities;
  if (!base || !tuned) return null;
  return {
    base: instructionScore(base, instruction),
    tuned: instructionScore(tuned, instruction),
  };
}

function scoreLine(state: State, scores: readonly Score[]): HTMLElement {
  const { relative } = state.options.saliency.density;
  const { shared, response } = state.manifest;
  const whose = shared
    ? response === "given"
      ? "both read a given answer"
      : `both read ${response}’s answer`
    : "own answers, the paper’s way";
  const value = (score: Score, side: Side) =>
    h(
      "b",
      {
        class: "tl-side",
        "data-side": side,
        "data-value": score[side],
        "data-score": score.method.name === PUBLISHED ? side : null,
      },
      number(score[side]),
    );
  const n = state.marked("instruction").length;
  return h(
    "p",
    { class: "tl-score", title: `Σ density ÷ log2(2 + ${n}) over the instruction tokens` },
    `Instruction score of Wu et al. (${whose}${relative ? "" : "; raw densities"}): `,
    ...scores.flatMap((score, i) => [
      `${i ? "; " : ""}${score.method.title.toLowerCase()} `,
      value(score, "base"),
      " → ",
      value(score, "tuned"),
    ]),
    ".",
  );
}

/** Where the numbers point in different ways, why they may. */
function disagreement(
  state: State,
  costs: readonly Cost[],
  scores: readonly Score[],
): HTMLElement[] {
  const cost = costs.find((row) => row.segment === "instruction" && isRead(state, row));
  const ways = [...(cost ? [cost] : []), ...scores].map(({ base, tuned }) =>
    Math.sign(tuned - base),
  );
  if (ways.length < 2 || ways.every((way) => way === ways[0])) return [];
  const measured = cost
    ? " What hiding the instruction costs is measured; trust that."
    : " Which way it goes depends on the method.";
  return [
    h(
      "p",
      { class: "tl-score", "data-disagree": true },
      `These do not go the same way: the score says how densely the largest effects of each answer token, each model by its own scale, lie on the instruction, not how much the answer depends on it.${measured}`,
    ),
  ];
}
