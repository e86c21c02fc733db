// Names of what stands on every line of tokens, at its left.

import type { Side } from "../../contract/contract.ts";
import { perFrame } from "../../core/schedule.ts";
import { fill, h, onResize } from "../../draw/dom.ts";
import type { Track } from "./tracks.ts";

export interface Gutter {
  el: HTMLElement;
  draw(tracks: readonly Track[]): void;
}

/** Lines of tokens beside which names are repeated. */
const MOST = 200;

/** `side` is given where the row belongs to one model only. */
export function gutter(text: HTMLElement, word: string, signal: AbortSignal, side?: Side): Gutter {
  const answer = word !== "prompt";
  const el = h("div", { class: "tl-gutter", "aria-hidden": "true" });
  let tracks: readonly Track[] = [];
  let lines = 1;
  let drawn = "";
  const draw = () => {
    const form = `${lines} ${tracks.length}`;
    if (form !== drawn) {
      drawn = form;
      el.replaceChildren(...Array.from({ length: lines }, (_, i) => line(i === 0 ? word : "")));
    }
    for (const [i, lane] of el.querySelectorAll(".tl-lane > span").entries()) {
      fill(lane, tracks[i % tracks.length]!.short);
    }
  };
  const line = (first: string) =>
    h(
      "div",
      { class: "tl-gutter-line" },
      name("tl-up", side ? "" : "base", "base"),
      name("tl-word", first, side),
      name("tl-down", side ? "" : "tuned", "tuned"),
      name("tl-difference", "tuned − base"),
      h("span", { class: "tl-tracks" }, ...tracks.map(() => name("tl-lane", ""))),
      name("tl-stack-slot", answer ? "how likely" : ""),
    );
  // Lines are alike, and counted when the width changes.
  const count = perFrame(() => {
    const first = el.firstElementChild;
    if (!first || first.clientHeight === 0) return;
    const gap = Number.parseFloat(getComputedStyle(text).rowGap) || 0;
    const fit = Math.round((text.scrollHeight + gap) / (first.clientHeight + gap));
    lines = Math.min(Math.max(fit, 1), MOST);
    draw();
  }, signal);
  onResize(text, signal, count);
  draw();
  return {
    el,
    draw(now) {
      tracks = now;
      draw();
    },
  };
}

function name(place: string, text: string, side?: Side): HTMLElement {
  return h(
    "span",
    { class: side ? `${place} tl-side` : place, "data-side": side },
    h("span", {}, text),
  );
}
