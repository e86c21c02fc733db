// The line under the tokens: scale, key, what the underline is, the instruction score.

import { largest, type Numbers } from "../core/numbers.ts";
import { h } from "../draw/dom.ts";
import { count, number } from "../draw/format.ts";
import { diverging, gradient } from "../draw/theme.ts";
import { type BySide, type Faithfulness, SIDES } from "../protocol.ts";
import type { View } from "./panel.ts";
import { type Bars, type Track, trackScale } from "./saliency_data.ts";

export interface NoteFacts {
  bars: Bars;
  tracks: readonly Track[];
  disagreement: Numbers | null;
  agreement: BySide<Faithfulness> | null;
}

export interface Notes {
  el: HTMLElement;
  draw(view: View, facts: NoteFacts): void;
}

export function saliencyNotes(): Notes {
  const el = h("div", { class: "tl-notes" });
  return {
    el,
    draw(view, { bars, tracks, disagreement, agreement }) {
      el.replaceChildren(
        ...scaleKey(view, bars),
        ...scores(view, bars),
        ...tracks.map((track) => trackKey(track)),
        ...(disagreement ? [underlineKey(disagreement)] : []),
        ...(agreement ? [agreementKey(agreement)] : []),
      );
    },
  };
}

function scaleKey(view: View, bars: Bars): HTMLElement[] {
  const { base, tuned } = bars.values;
  const max = largest(base, tuned);
  if (max === 0) return [];
  const unit = unitOf(view, bars);
  const look = view.store.method?.exact ? "solid" : "hatched";
  const negative = [base, tuned].some((list) => list?.some((value) => value < 0));
  const gaps = base && tuned ? base.map((value, i) => (tuned[i] ?? value) - value) : null;
  const gap = largest(gaps);
  const mark = (side: string, name: string) =>
    h("i", { class: "tl-mark", "data-side": side, "data-look": name });
  const items = [
    h(
      "span",
      { class: "tl-key" },
      mark("base", look),
      "base ",
      mark("tuned", look),
      `tuned, full height ${number(max)}${unit}`,
    ),
  ];
  if (negative) {
    items.push(
      h("span", { class: "tl-key" }, mark("base", "hollow"), "hollow: makes it less likely"),
    );
  }
  if (gap > 0) {
    const ramp = h("i", { class: "tl-ramp" });
    ramp.style.background = gradient(diverging(view.surface.palette), -1, 1);
    items.push(
      h("span", { class: "tl-key" }, `tuned − base: −${number(gap)} `, ramp, ` +${number(gap)}`),
    );
  }
  return items;
}

function unitOf(view: View, bars: Bars): string {
  if (bars.measure === "levels") return ` of ${view.store.options.density.levels}`;
  if (bars.measure === "effect" && /\bnats?\b/.test(view.store.method?.measures ?? ""))
    return " nats";
  return "";
}

function scores(view: View, bars: Bars): HTMLElement[] {
  const { relative } = view.store.options.density;
  if (!bars.scores) return [];
  const n = view.store.segment("instruction").length;
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

function underlineKey(disagreement: Numbers): HTMLElement {
  return h(
    "span",
    { class: "tl-key" },
    `underline: how far the models disagree at that token, KL up to ${number(largest(disagreement))} nats`,
  );
}

/** How well the estimate ranks the prompt tokens, against hiding each of them. */
function agreementKey(agreement: BySide<Faithfulness>): HTMLElement {
  const known = SIDES.filter((side) => agreement[side].spearman !== null);
  if (known.length === 0) {
    return h(
      "span",
      { class: "tl-key" },
      "not checked yet: choose occlusion for the exact effects",
    );
  }
  const parts = known.map((side) => {
    const { spearman, n, cells } = agreement[side];
    const share = n < cells ? ` (${n} of ${cells} cells)` : "";
    return `${side} ${number(spearman!)}${share}`;
  });
  return h(
    "span",
    { class: "tl-key", title: "Spearman correlation per answer token, averaged" },
    `agreement with exact occlusion, ρ: ${parts.join(", ")}`,
  );
}
