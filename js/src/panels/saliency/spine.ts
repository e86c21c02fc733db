// The answer as spine: what both models make of every answer token, and where they part;
// beside it where to look first, under it what its marks are, or what is expected there.

import { type AnswerStep, type BySide, keys, SIDES, type Side } from "../../contract/contract.ts";
import { both, type Got, type Need, quiet } from "../../core/load.ts";
import type { State } from "../../core/state.ts";
import type { Store } from "../../core/store.ts";
import { button, clicks, fill, h } from "../../draw/dom.ts";
import { number, percent, quote, signed, tokenText } from "../../draw/format.ts";
import { eachSide, type Numbers } from "../../maths/numbers.ts";

/** Nats by which the models differ on a token before it is marked. */
export const APART = 1;
/** What a model expects is listed up to so many tokens, as far as they are not less likely. */
const MOST = 3;
const UNLIKELY = 0.01;

export interface Spine {
  /** Log-probability of every answer token, nats. */
  logprob: BySide<Numbers>;
  /** What each predicts there; null where it is not known, or where each reads its own answer. */
  steps: readonly AnswerStep[] | null;
}

export function spineNeeds(state: State): Need[] {
  const { shared } = state.manifest;
  return quiet(
    keys.logprob("base"),
    keys.logprob("tuned"),
    ...(shared && state.answer("tuned").tokens.length ? [keys.answerSteps()] : []),
  );
}

export function spineOf(state: State, got: Got): Spine | null {
  const steps = (state.manifest.shared && got(keys.answerSteps()).value) || null;
  const logprob = both(got, keys.logprob);
  if (steps) {
    return { steps, logprob: eachSide((side) => steps.map((step) => step[side].logprob)) };
  }
  return logprob && { steps: null, logprob: eachSide((side) => logprob[side].data) };
}

/** log p(tuned) - log p(base) of every answer token; empty where each reads its own answer. */
export function gaps(state: State, { logprob: { base, tuned } }: Spine): number[] {
  if (!state.manifest.shared) return [];
  return Array.from(tuned, (value, m) => value - base[m]!);
}

/** Probability in both models as two bars, and a line: thick where they disagree. */
export function spineMark(state: State, spine: Spine, m: number, side?: Side): HTMLElement {
  const shown = side ? [side] : (["base", "tuned"] as const);
  const gap = gaps(state, spine)[m];
  const apart = gap !== undefined && Math.abs(gap) > APART;
  return h(
    "span",
    { class: "tl-spine" },
    ...shown.map((name) => {
      const share = Math.exp(spine.logprob[name][m] ?? Number.NaN);
      const style = `width: ${(share * 100).toFixed(1)}%`;
      const bar = { class: "tl-spine-bar", "data-side": name, "data-value": share, style };
      return h("span", { class: "tl-spine-track" }, h("i", bar));
    }),
    h("i", { class: "tl-spine-line", "data-apart": apart, "data-gap": gap }),
  );
}

/** Where to look first: where predictions first part by a nat, as findings say, and the largest shifts. */
export function landmarks(state: State, spine: Spine): { first: number; most: number[] } {
  const apart = gaps(state, spine);
  const { steps } = spine;
  const differ = (m: number) => (steps ? steps[m]!.kl : Math.abs(apart[m]!)) > APART;
  const all = apart.map((_, m) => m);
  return {
    first: all.findIndex(differ),
    most: all
      .filter((m) => Math.abs(apart[m]!) > APART)
      .sort((a, b) => Math.abs(apart[b]!) - Math.abs(apart[a]!))
      .slice(0, 3),
  };
}

/** What both expect at an answer token, the token itself among it. */
export function expectations(step: AnswerStep, side: Side, token: string): string {
  const { expects, logprob } = step[side];
  const first = expects.filter(([text, p], i) => i < MOST && (p >= UNLIKELY || text === token));
  const has = first.some(([text]) => text === token);
  const list = has ? first : [...first.slice(0, MOST - 1), [token, Math.exp(logprob)] as const];
  return list.map(([text, p]) => `${quote(text, 12)} ${percent(p)}`).join(", ");
}

/** Everything about one answer token, for the tooltip. */
export function stepLines(step: AnswerStep, shown: readonly Side[], token: string): string[] {
  const values = (name: "logprob" | "entropy" | "rank") =>
    shown.map((side) => `${side} ${number(step[side][name])}`).join(", ");
  const gap = step.tuned.logprob - step.base.logprob;
  return [
    ...shown.map((side) => `${side} expects ${expectations(step, side, token)}`),
    `log-probability: ${values("logprob")}${shown.length > 1 ? ` (difference ${signed(gap)} nats)` : ""}`,
    `KL: tuned ‖ base ${number(step.kl)}, base ‖ tuned ${number(step.kl_back)} nats`,
    `rank: ${values("rank")}; entropy: ${values("entropy")} nats`,
    `${step.shift} by tuning`,
  ];
}

export function spineLine(store: Store, signal: AbortSignal) {
  const whole = button("whole answer", () => store.select({ token: -1 }), signal, {
    class: "tl-link",
  });
  const el = h("div", { class: "tl-flow tl-spine-text" });
  const jumps = h("span", { class: "tl-flow tl-jumps" });
  const jump = ({ dataset }: HTMLElement) => {
    store.setOptions("saliency", { span: null, cell: null });
    store.select({ token: Number(dataset.jump) });
  };
  clicks(jumps, "[data-jump]", signal, jump);
  return {
    el,
    /** Where to look first. */
    jumps,
    draw(state: State, spine: Spine | null) {
      const { token } = state.selection;
      el.hidden = spine === null && token < 0;
      const back = token < 0 ? [] : [whole];
      fill(jumps, ...(spine ? jumpsOf(state, spine) : []));
      const m = token - state.promptLength;
      const inAnswer = m >= 0 && state.span === null;
      const said = spine ? (inAnswer ? expected(state, spine, m) : [key(state)]) : [];
      fill(el, ...said, ...back);
    },
  };
}

/** What both models expect at the selected answer token. */
function expected(state: State, spine: Spine, m: number): (HTMLElement | string)[] {
  const step = spine.steps?.[m];
  const token = state.text(state.selection.token);
  const gap = gaps(state, spine)[m];
  const parts = SIDES.filter((side) => m < spine.logprob[side].length).map((side) =>
    h(
      "span",
      { class: "tl-expected" },
      h("b", { class: "tl-side", "data-side": side }, side),
      step
        ? ` expects ${expectations(step, side, token)}`
        : ` gives it ${percent(Math.exp(spine.logprob[side][m]!))}`,
    ),
  );
  const apart = gap === undefined ? "" : `${signed(gap)} nats${step ? `, ${step.shift}` : ""}`;
  return [...parts, h("span", { class: "tl-spine-gap" }, apart)];
}

function key(state: State): HTMLElement {
  const line = state.manifest.shared ? `; thick line: over ${APART} nat apart` : "";
  return h("span", {}, `answer: probability${line}`);
}

function jumpsOf(state: State, spine: Spine): HTMLElement[] {
  const { first, most } = landmarks(state, spine);
  const jump = (m: number) =>
    h(
      "button",
      { type: "button", class: "tl-link", "data-jump": state.promptLength + m },
      tokenText(state.text(state.promptLength + m)).word,
    );
  return [
    ...(first < 0 ? [] : [h("span", {}, "parts first at ", jump(first))]),
    ...(most.length ? [h("span", {}, "most at ", ...most.map(jump))] : []),
  ];
}
