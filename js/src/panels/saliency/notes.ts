// The line under the tokens: the scale of the bars, and what each kind of bar is.

import type { State } from "../../core/state.ts";
import { fill, h } from "../../draw/dom.ts";
import { number } from "../../draw/format.ts";
import { largest } from "../../maths/numbers.ts";
import type { Bars } from "./bars.ts";
import type { Facts } from "./facts.ts";
import { type Track, trackScale } from "./tracks.ts";

export function saliencyNotes() {
  const el = h("div", { class: "tl-flow tl-notes" });
  return {
    el,
    draw(state: State, facts: Facts) {
      const { tracks } = facts;
      fill(
        el,
        ...scaleKey(state, facts),
        ...tracks.map(trackKey),
        ...(state.marks ? [marksKey()] : []),
      );
    },
  };
}

function scaleKey(state: State, { bars, run }: Facts): HTMLElement[] {
  const { base, tuned } = bars.values;
  const max = largest(base, tuned);
  if (max === 0) return [];
  const unit = barUnit(state, bars);
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

/** Unit of the bars, after a number. */
function barUnit(state: State, bars: Bars): string {
  if (bars.measure === "levels") return ` of ${state.options.saliency.density.levels}`;
  return bars.measure === "effect" ? effectUnit(state) : "";
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

/** Unit of the chosen method's effects, after a number. */
export function effectUnit(state: State): string {
  return /\bnats?\b/.test(state.method?.measures ?? "") ? " nats" : "";
}
