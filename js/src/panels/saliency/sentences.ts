// Sentences of the saliency panel: title, caption, tooltips, names for screen readers.

import { type BySide, EXACT, SIDES, type Side } from "../../contract/contract.ts";
import type { State } from "../../core/state.ts";
import { onlyReader } from "../../core/state.ts";
import { count, number, percent, quote, signed, smallEffects } from "../../draw/format.ts";
import type { Tip } from "../../draw/tooltip.ts";
import { largest, type Numbers } from "../../maths/numbers.ts";
import type { Picture } from "../../shell/frame.ts";
import type { Bars } from "./bars.ts";
import type { Facts } from "./facts.ts";
import { columnsOf, together } from "./focus.ts";
import type { Matrix } from "./matrix_data.ts";
import { effectUnit } from "./notes.ts";
import { shareText } from "./shares.ts";
import { stepLines } from "./spine.ts";
import { standIn } from "./table.ts";
import { pairText, type Strip } from "./token_strip.ts";

export function labelOf(state: State, facts: Facts, strip: Strip, i: number): string {
  const position = strip.offset + i;
  const kind = position < state.promptLength ? "prompt token" : "answer token";
  const lines = linesOf(state, facts, position, strip.buttons[i]?.dataset.side as Side | undefined);
  const only = onlyReader(state.manifest, position);
  const whose = only ? [`only ${only} reads it`] : [];
  return [`${kind} ${position}, ${quote(strip.tokens[i]!.text)}`, ...whose, ...lines].join("; ");
}

export function tipOf(state: State, facts: Facts, element: HTMLElement): Tip {
  const position = Number(element.dataset.token);
  const side = element.dataset.side as Side | undefined;
  const text = quote(state.text(position, side));
  const segment = element.dataset.segment;
  const only = onlyReader(state.manifest, position);
  const name =
    (segment && segment !== "other" ? ` · ${segment}` : "") +
    (only ? ` · only ${only} reads it` : "");
  return {
    title: `${text} position ${position}${name}`,
    lines: linesOf(state, facts, position, side),
  };
}

function linesOf(state: State, facts: Facts, position: number, side: Side | undefined): string[] {
  const { bars } = facts;
  const n = state.promptLength;
  const index = position < n ? position : position - n;
  const barsHere = bars.on === (position < n ? "prompt" : "answer");
  const shown = SIDES.filter((name) => side === undefined || name === side);
  const shownOf = (
    values: BySide<Numbers | null>,
    i: number,
  ): [number | undefined, number | undefined] => [
    side === "tuned" ? undefined : values.base?.[i],
    side === "base" ? undefined : values.tuned?.[i],
  ];
  const lines = barsHere ? [pairText(bars.measure, ...shownOf(bars.values, index))] : [];
  if (barsHere && facts.run) lines.push(measured(facts, index, shown));
  if (position >= n) {
    lines.push(...predicted(facts, index, shown, shownOf, state.text(position)));
    if (facts.shares?.marked) {
      const { base, tuned } = facts.shares.along;
      lines.push(shareText({ base: base[index]!, tuned: tuned[index]! }, shown));
    }
  }
  for (const track of facts.tracks) {
    const [name] = track.name.split(/[,:;]/);
    lines.push(pairText(name!, ...shownOf(track.values, position)));
  }
  return lines.filter(Boolean);
}

/** What the models make of an answer token; of an older recording as far as that says. */
function predicted(
  { spine, alternatives, disagreement }: Facts,
  index: number,
  shown: readonly Side[],
  of: (values: BySide<Numbers | null>, i: number) => [number | undefined, number | undefined],
  token: string,
): string[] {
  const step = spine?.steps?.[index];
  if (step) return stepLines(step, shown, token);
  const rivals = shown.flatMap((model) => {
    const list = alternatives?.[model][index]?.slice(0, 3) ?? [];
    const texts = list.map(([text, p]) => `${quote(text, 12)} ${percent(p)}`);
    return texts.length ? [`${model} expects beside it ${texts.join(", ")}`] : [];
  });
  return [
    ...(spine ? [pairText("log-probability", ...of(spine.logprob, index))] : []),
    ...(disagreement ? [`KL(tuned ‖ base): ${number(disagreement[index]!)} nats`] : []),
    ...rivals,
  ];
}

/** Which of the two numbers are measured while others are not. */
function measured({ bars }: Facts, index: number, shown: readonly Side[]): string {
  const missing = shown.filter((side) => bars.values[side] && !bars.exact[side][index]);
  if (missing.length === 0) return "exact";
  return missing.length === shown.length
    ? "estimate, not measured yet"
    : `${missing[0]} is an estimate, not measured yet`;
}

/** Title, note and caption, made from the selection. */
export function words(state: State, facts: Facts): Omit<Picture, "draw"> {
  const { bars, run } = facts;
  const { method } = state;
  const none = SIDES.every((side) => state.answer(side).tokens.length === 0);
  if (!method || none) {
    const caption = none ? "There is no answer to explain." : "This trace has no saliency method.";
    return { title: "Prompt and answer", caption };
  }
  const partly = run !== null && run.status !== "done";
  const note = run ? (partly ? "exact as it comes" : "exact") : "estimate";
  const doubt = run
    ? filler(state, bars, partly)
    : "An estimate, not the effect of taking the token away.";
  const scale = bars.differences
    ? "Base above, tuned below, under them tuned − base, all on one scale."
    : `Base above, tuned below, one scale.${apart(state, facts)}`;
  const how =
    bars.measure === "none"
      ? [matrixCaption(state, facts), partly ? filler(state, bars, partly) : ""]
      : [measureText(state, facts), scale, partly ? doubt : "", coverage(facts)];
  const most: Partial<Record<Bars["measure"], number>> = {
    none: facts.matrix?.max ?? 0,
    effect: largest(bars.values.base, bars.values.tuned),
  };
  const small = smallEffects(most[bars.measure] ?? 0, effectUnit(state));
  const caption = [small, plainly(state, facts), run ? "" : doubt];
  const said = (parts: string[]) => parts.filter(Boolean).join(" ");
  return { title: titleOf(state, facts), note, caption: said(caption), how: said(how) };
}

/** How to read it, without a technical word. */
function plainly(state: State, { bars }: Facts): string {
  if (bars.measure === "none") {
    return state.method!.name === EXACT
      ? "Stronger colour: hiding that prompt token makes the answer token less likely."
      : "Stronger colour: more important for the answer token.";
  }
  const taller = { "prompt token": "matters more for that answer token" } as Record<string, string>;
  return `Taller: ${taller[bars.focus] ?? "more important"}. Blue base, orange tuned; hollow: against it.`;
}

/** What stands in for cells that are not measured yet. */
function filler(state: State, bars: Bars, partly: boolean): string {
  if (!partly) return "";
  const estimate = standIn(state)?.title.toLowerCase();
  if (bars.measure !== "effect" && bars.measure !== "none") {
    return estimate
      ? `Hatched until every cell is measured: the others are estimated by ${estimate}.`
      : "Empty until every cell is measured; mean effects are shown as they come.";
  }
  return estimate
    ? `Solid: measured. Hatched: not measured yet, estimated by ${estimate}.`
    : "Cells that are not measured yet stay empty.";
}

/** How to read the matrix, and how much of it is measured. */
function matrixCaption(state: State, { matrix, run, covers }: Facts): string {
  if (!matrix) return "";
  const cells = SIDES.reduce((sum, side) => sum + state.answer(side).tokens.length, 0);
  const all = cells * state.promptLength;
  const done = run?.status === "done" ? ` All ${all} cells are measured.` : "";
  const three = state.manifest.shared ? "all three" : "both";
  const rows = state.manifest.shared ? "" : " Each model reads its own answer, so rows differ.";
  const said = covers ? " The instruction covers the whole prompt beside the template." : "";
  if (state.method!.name === EXACT) {
    return `Stronger colour: hiding that prompt token costs the answer token more (up to ${number(matrix.max)} nats).${done}${rows}${said}`;
  }
  const scale = `Stronger colour: larger, up to ${number(matrix.max)}${effectUnit(state)}, ${three} on one scale; hollow: negative.`;
  return `${state.method!.measures} ${scale}${done}${rows}${said}`;
}

/** A cell of the matrix as a sentence. */
export function cellText(state: State, matrix: Matrix, m: number, k: number, unit: string): string {
  const { title, lines } = cellTip(state, matrix, m, k, unit);
  return `${title}: ${lines.join(", ")}`;
}

export function cellTip(state: State, matrix: Matrix, m: number, k: number, unit: string): Tip {
  const at = m * matrix.columns.length + k;
  const answer = SIDES.map((side) => state.answer(side).tokens[m]?.text ?? "");
  const from = quote(state.text(matrix.columns[k]!), 20);
  const to =
    answer[0] === answer[1]
      ? quote(answer[1]!, 20)
      : answer.map((text) => quote(text, 20)).join(" / ");
  const lines = SIDES.flatMap((side) => {
    const cells = matrix.sides[side];
    const value = m < (cells?.rows ?? 0) ? cells!.values[at]! : Number.NaN;
    if (Number.isNaN(value)) return [`${side} not known`];
    return [`${side} ${number(value)}${unit}${cells!.exact[at] ? "" : " (estimate)"}`];
  });
  const difference = matrix.difference?.values[at];
  if (difference !== undefined && !Number.isNaN(difference)) {
    lines.push(`tuned − base ${signed(difference)}${unit}`);
  }
  return { title: `${from} → ${to}`, lines };
}

function apart(state: State, { bars }: Facts): string {
  if (state.manifest.shared || bars.focus === "answer") return "";
  return " The models read different answers, so their difference is shown over whole answers only.";
}

function coverage({ covers, bars }: Facts): string {
  if (!covers) return "";
  const what = together(bars.focus) ? "score says" : "share says";
  return `The instruction covers the whole prompt beside the template: its ${what} little about where the models look.`;
}

function measureText(state: State, { bars }: Facts): string {
  const method = state.method!;
  const { levels, threshold, norm, relative } = state.options.saliency.density;
  const picture = state.options.saliency.pictureThreshold;
  const levelText = `Levels 0 to ${levels}: share of each answer token's largest effect, levels up to ${picture} left out.`;
  const measures =
    method.name === EXACT ? "What hiding a prompt token costs, in nats." : method.measures;
  if (bars.focus === "answer token") return bars.measure === "levels" ? levelText : measures;
  if (bars.focus === "prompt token") {
    return `${bars.measure === "levels" ? levelText : measures} Shown on the answer tokens.`;
  }
  const m = Math.max(...SIDES.map((side) => columnsOf(state, side).length));
  const over = bars.focus === "span" ? `the ${m} chosen answer tokens` : "the answer";
  return {
    none: "",
    density: `Importance density over ${bars.focus === "span" ? over : count(m, "answer token")} (L = ${levels}, b = ${threshold}, p = ${norm}, ${relative ? "divided by the prompt's maximum" : "not divided"}).`,
    effect: `Mean over ${over}. ${measures}`,
    levels: `Mean over ${over}. ${levelText}`,
  }[bars.measure];
}

function titleOf(state: State, { bars }: Facts): string {
  const { token } = state.selection;
  if (bars.measure === "none") return "What each answer token rests on";
  if (bars.focus === "answer") return "What the answer rests on";
  if (bars.focus === "prompt token")
    return `Where the prompt token ${quote(state.text(token))} matters`;
  if (bars.focus === "span") return spanTitle(state);
  if (state.manifest.shared) return `What the answer token ${quote(state.text(token))} rests on`;
  const names = SIDES.map((side) =>
    token < state.length(side) ? `${quote(state.text(token, side))} (${side})` : `none (${side})`,
  );
  return `What answer token ${token - state.promptLength} rests on: ${names.join(", ")}`;
}

function spanTitle(state: State): string {
  const [from, to] = state.span!;
  const name = (side: Side) => {
    const last = Math.min(to, state.length(side) - 1);
    if (last < from) return "none";
    const text = (position: number) => quote(state.text(position, side), 20);
    return last === from ? text(from) : `${text(from)} … ${text(last)}`;
  };
  if (state.manifest.shared)
    return `What the ${count(to - from + 1, "answer token")} ${name("tuned")} rest on`;
  return `What these answer tokens rest on: ${SIDES.map((side) => `${name(side)} (${side})`).join(", ")}`;
}
