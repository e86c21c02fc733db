// The three zones of a unit's words as real text.

import { layoutZones, measurer } from "../draw/cloud.ts";
import { h } from "../draw/dom.ts";
import { count, number, tokenText } from "../draw/format.ts";
import { type Tooltip, tips } from "../draw/tooltip.ts";
import { SIDES } from "../protocol.ts";
import { type Concepts, scoreOf, ZONES, type ZonedWord, type ZoneName } from "./concepts_data.ts";
import type { View } from "./panel.ts";

const TITLES: Record<ZoneName, string> = { base: "only base", both: "both", tuned: "only tuned" };
/** Below this width zones stand above one another. */
const NARROW = 480;

export interface WordCloud {
  el: HTMLElement;
  draw(view: View, concepts: Concepts): void;
}

export function wordCloud(tooltip: Tooltip, signal: AbortSignal): WordCloud {
  const el = h("div", { class: "tl-cloud" });
  let shown = new Map<string, ZonedWord>();
  let drawn = "";
  tips(
    el,
    tooltip,
    (target) => {
      const word = shown.get(target.dataset.word ?? "");
      return word ? { title: word.text, lines: [describe(word)] } : null;
    },
    signal,
  );
  return {
    el,
    draw(view, { words }) {
      shown = new Map(words.map((word) => [word.text, word]));
      const { scale } = view.surface;
      const width = el.clientWidth || 640;
      const wanted = JSON.stringify([words, width, scale]);
      if (wanted === drawn) return; // another token: the same words
      drawn = wanted;
      const family = getComputedStyle(el).fontFamily || "sans-serif";
      const largest = Math.max(...words.map((word) => Math.abs(scoreOf(word))), 1e-12);
      const byZone = ZONES.map((zone) => words.filter((word) => word.zone === zone));
      const stacked = width < NARROW * scale;
      const zones = layoutZones(
        byZone.map((list) =>
          list.map((word) => ({
            text: tokenText(word.text).word,
            weight: scoreOf(word) / largest,
            italic: scoreOf(word) < 0,
          })),
        ),
        {
          width: stacked ? width : width - 2,
          height: (stacked ? 420 : 250) * scale,
          stacked,
          largest: 28 * scale,
          smallest: 10.5 * scale,
          measure: measurer(family),
        },
      );
      el.classList.toggle("tl-stacked", stacked);
      el.replaceChildren(
        ...zones.map((zone, z) => {
          const name = ZONES[z]!;
          const field = h("div", { class: "tl-field", role: "list", "aria-label": TITLES[name] });
          field.style.height = `${zone.height}px`;
          field.append(
            ...zone.words.map((placed, i) => {
              const word = byZone[z]![i]!;
              const item = h(
                "bdi",
                {
                  class: placed.italic ? "tl-word-item tl-negative" : "tl-word-item",
                  role: "listitem",
                  "data-word": word.text,
                  "data-zone": name,
                  "data-value": scoreOf(word),
                  "aria-label": `${placed.text}: ${describe(word)}`,
                },
                placed.shown,
              );
              item.style.cssText = `left:${placed.x.toFixed(1)}px;top:${placed.y.toFixed(1)}px;font-size:${placed.size.toFixed(2)}px`;
              return item;
            }),
          );
          const box = h(
            "div",
            { class: "tl-zone", "data-side": name },
            h(
              "div",
              { class: "tl-zone-title" },
              `${TITLES[name]} · ${count(zone.words.length, "word")}`,
            ),
            field,
          );
          box.style.width = `${zone.width}px`;
          return box;
        }),
      );
    },
  };
}

function describe({ scores }: ZonedWord): string {
  return SIDES.map((side) => {
    const score = scores[side];
    return `${side} ${score === undefined ? "not among its words" : number(score)}`;
  }).join(", ");
}
