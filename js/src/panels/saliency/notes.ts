// The line under the tokens: scale, key, what the underline is, the instruction score.

import { SIDES } from "../../contract/contract.ts";
import type { State } from "../../core/state.ts";
import { h } from "../../draw/dom.ts";
import { count, number } from "../../draw/format.ts";
import { largest, type Numbers } from "../../maths/numbers.ts";
import type { Bars } from "./bars.ts";
import type { Facts } from "./facts.ts";
import { type Track, trackScale } from "./tracks.ts";

export interface Notes {
  el: HTMLElement;
  draw(state: State, facts: Facts): void;
}

export function saliencyNotes(): Notes {
  const el = h("div", { class: "tl-notes" });
  return {
    el,
    draw(state, facts) {
      const { bars, tracks, disagreement } = facts;
      el.replaceChildren(
        ...scaleKey(state, facts),
        ...scores(state, bars),
        ...tracks.map(trackKey),
        ...(disagreement ? [underlineKey(disagreement)] : []),
        ...(state.marks ? [marksKey()] : []),
      );
    },
  };
}

function scaleKey(state: State, { bars, run }: Facts): HTMLElement[] {
  const { base, tuned } = bars.values;
  const max = largest(base, tuned);
  if (max === 0) return [];
  const unit = unitOf(state, bars);
  const look = run?.status === "done" ? "solid" : "hatched";
  const negative = [base, tuned].some((list) => list?.some((value) => value < 0));
  const mark = (side: string, name: string) =>
    h("i", { class: "tl-mark", "data-side": side, "data-look": name });
  const key = (...parts: (HTMLElement | string)[]) => h("span", { class: "tl-key" }, ...parts);
  const items = [
    key(
      mark("base", look),
      "base ",
      mark("tuned", look),
      `tuned, full height ${number(max)}${unit}`,
    ),
  ];
  if (run && run.status !== "done") {
    items.push(key(mark("both", "solid"), "measured ", mark("both", "hatched"), "estimate"));
  }
  if (negative) items.push(key(mark("base", "hollow"), "hollow: makes it less likely"));
  if (largest(bars.differences) > 0) {
    items.push(
      key(
        "lowest row, tuned − base: ",
        mark("tuned", look),
        "up, tuned larger ",
        mark("base", look),
        "down, base larger",
      ),
    );
  }
  return items;
}

function unitOf(state: State, bars: Bars): string {
  if (bars.measure === "levels") return ` of ${state.options.saliency.density.levels}`;
  if (bars.measure === "effect" && /\bnats?\b/.test(state.method?.measures ?? "")) return " nats";
  return "";
}

function scores(state: State, bars: Bars): HTMLElement[] {
  const { relative } = state.options.saliency.density;
  if (!bars.scores) return [];
  const n = state.marked("instruction").length;
  const how = relative ? "densities divided by the prompt's maximum" : "raw densities";
  return [
    h(
      "span",
      {
        class: "tl-key",
        title: `Σ density ÷ log2(2 + ${n}) over ${count(n, "instruction token")}`,
      },
      "instruction score ",
      ...SIDES.flatMap((side) => [
        h(
          "b",
          { "data-side": side, "data-value": bars.scores![side], "data-score": side },
          `${side} ${number(bars.scores![side])}`,
        ),
        " ",
      ]),
      `(${how})`,
    ),
  ];
}

function trackKey(track: Track): HTMLElement {
  const max = trackScale(track);
  return h("span", { class: "tl-key" }, `small bars: ${track.name}; full height ${number(max)}`);
}

function marksKey(): HTMLElement {
  return h(
    "span",
    { class: "tl-key" },
    "spans marked anew: score and shares follow; attention to the instruction, among the heads, keeps the spans of the trace",
  );
}

function underlineKey(disagreement: Numbers): HTMLElement {
  return h(
    "span",
    { class: "tl-key" },
    `underline: how far the models disagree at that token, KL up to ${number(largest(disagreement))} nats`,
  );
}
