// The words of a unit as real text: in three zones, or one cloud per model.

import { SIDES } from "../../contract/contract.ts";
import type { CloudShape } from "../../core/options.ts";
import {
  type CloudWord,
  layoutZones,
  type Measure,
  measurer,
  type Placed,
} from "../../draw/cloud.ts";
import { clicks, fill, h, widthOf } from "../../draw/dom.ts";
import { count, number, tokenText } from "../../draw/format.ts";
import { reachable, roving } from "../../draw/roving.ts";
import { tips } from "../../draw/tooltip.ts";
import type { Setting } from "../../shell/frame.ts";
import { type Concepts, scoreOf, ZONES, type ZonedWord, type ZoneName } from "./data.ts";

const TITLES: Record<ZoneName, string> = { base: "only base", both: "both", tuned: "only tuned" };
const END_TITLES = ["positive", "negative"];
/** Below this width zones stand above one another. */
const NARROW = 480;
/** Size of the weakest word in pixels, and how many times as large the strongest is. */
const SMALLEST = 12;
const RANGE = 2.5;
/** Heights in pixels that are tried first, with both ends together and apart. */
const HEIGHTS = { beside: [250, 380], stacked: [420, 640] } as const;

/** One field of words with a title; `score` is what a word is drawn with in it. */
interface Field {
  title: string;
  side: ZoneName;
  words: ZonedWord[];
  score(word: ZonedWord): number;
}

/** `pick` is called with a word that was clicked. */
export function wordCloud({ surface, tooltip, signal }: Setting, pick: (word: string) => void) {
  const el = h("div", { class: "tl-cloud" });
  const room = widthOf(el, signal);
  let shown = new Map<string, ZonedWord>();
  let measure: Measure | undefined;
  let drawn = "";
  tips(el, tooltip, signal, (target) => {
    const word = shown.get(target.dataset.word ?? "");
    return word ? { title: word.text, lines: [describe(word)] } : null;
  });
  const buttons = () => [...el.querySelectorAll<HTMLElement>("[data-word]")];
  roving(el, buttons, signal, (button) => reachable(buttons(), button));
  clicks(el, "[data-word]", signal, (word) => pick(word.dataset.word!));
  return {
    el,
    draw({ words, ends }: Concepts, shape: CloudShape) {
      shown = new Map(words.map((word) => [word.text, word]));
      const { scale } = surface;
      const width = room() || 640;
      const wanted = JSON.stringify([words, ends !== null, shape, width, scale]);
      if (wanted === drawn) return; // another token: the same words
      drawn = wanted;
      const lists = ends ? [ends.positive, ends.negative] : [words];
      const rows = lists.map((list, i) => fieldsOf(list, shape, ends ? END_TITLES[i]! : ""));
      const stacked = width < NARROW * scale;
      const grid = stacked ? stack(rows) : rows;
      const height = HEIGHTS[stacked ? "stacked" : "beside"][ends ? 1 : 0];
      const scores = grid
        .flat()
        .flatMap((field) => field.words.map((word) => Math.abs(field.score(word))));
      const range = [Math.min(...scores), Math.max(...scores)] as const;
      // Made once: to ask for the font has the page laid out.
      measure ??= measurer(getComputedStyle(el).fontFamily || "sans-serif");
      const zones = layoutZones(
        grid.map((row) => row.map((field) => field.words.map((w) => sized(field, w, range)))),
        {
          width: stacked ? width : width - row(grid),
          height: height * scale,
          largest: SMALLEST * RANGE * scale,
          smallest: SMALLEST * scale,
          measure,
        },
      );
      el.classList.toggle("tl-stacked", stacked);
      fill(
        el,
        ...zones.map((line, r) =>
          h(
            "div",
            { class: "tl-zone-row" },
            ...line.map((zone, c) => {
              const field = grid[r]![c]!;
              const style = `height: ${zone.height}px`;
              return h(
                "div",
                { class: "tl-zone", "data-side": field.side, style: `width: ${zone.width}px` },
                h(
                  "div",
                  { class: "tl-zone-title tl-quiet tl-cut" },
                  `${field.title} · ${count(field.words.length, "word")}`,
                ),
                h(
                  "div",
                  { class: "tl-field", role: "group", "aria-label": field.title, style },
                  ...zone.words.map((placed, i) => item(field, field.words[i]!, placed)),
                ),
              );
            }),
          ),
        ),
      );
      reachable(buttons(), undefined);
    },
  };
}

/** Pixels that the rules between the zones of a row take. */
function row(grid: Field[][]): number {
  return (grid[0]?.length ?? 1) - 1;
}

function fieldsOf(words: ZonedWord[], shape: CloudShape, end: string): Field[] {
  const titled = (title: string) => (end ? `${title}, ${end}` : title);
  if (shape === "zones") {
    return ZONES.map((zone) => ({
      title: titled(TITLES[zone]),
      side: zone,
      words: words.filter((word) => word.zone === zone),
      score: scoreOf,
    }));
  }
  return SIDES.map((side) => ({
    title: titled(side),
    side,
    words: words.filter((word) => word.scores[side] !== undefined),
    score: (word) => word.scores[side] ?? 0,
  }));
}

/** One column: zone by zone, and within a zone one end above the other. */
function stack(rows: Field[][]): Field[][] {
  return rows[0]!.flatMap((_, zone) => rows.map((fields) => [fields[zone]!]));
}

/** A word of the negative end has a minus before it. */
function sized(field: Field, word: ZonedWord, [least, most]: readonly [number, number]): CloudWord {
  const score = field.score(word);
  const text = `${score < 0 ? "−" : ""}${tokenText(word.text).word}`;
  return { text, weight: most > least ? (Math.abs(score) - least) / (most - least) : 0.5 };
}

function item(field: Field, word: ZonedWord, placed: Placed): HTMLElement {
  const style = `left: ${placed.x.toFixed(1)}px; top: ${placed.y.toFixed(1)}px; font-size: ${placed.size.toFixed(2)}px`;
  return h(
    "button",
    {
      type: "button",
      dir: "auto",
      class: "tl-word-item",
      "data-word": word.text,
      "data-zone": word.zone,
      "data-value": field.score(word),
      "aria-label": `${placed.text}: ${describe(word)}`,
      style,
    },
    placed.shown,
  );
}

function describe({ scores }: ZonedWord): string {
  return SIDES.map((side) => {
    const score = scores[side];
    return `${side} ${score === undefined ? "not among its words" : number(score)}`;
  }).join(", ");
}
