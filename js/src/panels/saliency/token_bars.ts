// The bars of a run of tokens: a few paths over the text, whatever number of tokens there is. As
// elements of their own, hundreds of them would have their styles worked out with every selection.

import type { Side } from "../../contract/contract.ts";
import { boxStyle, h, setAttribute, svg } from "../../draw/dom.ts";

/** A bar in its place, which keeps the number. */
export interface Bar {
  el: HTMLElement;
  side: Side;
  value: number | undefined;
  /** What it fills of its place, and where that begins, in shares of it. */
  size: number;
  top: number;
  look: string;
}

/** What is drawn of a token: bars at its word, and rows of small ones under it. */
export interface Barred {
  word: Element;
  bars: readonly Bar[];
  lanes: readonly { el: HTMLElement; bars: readonly Bar[] }[];
}

/** What is framed: the word of the selected token, and of the one where that is read. */
export type Frames = Partial<Record<(typeof FRAMES)[number], Element>>;

export interface BarPainter {
  /** Draw the bars of some tokens; `form` is what decides where bars have their places. */
  draw(tokens: readonly Barred[], frames: Frames, form: string): void;
}

type Box = [x: number, y: number, width: number, height: number];

/** Bars are narrower than their words, and never so low that they are not seen. */
const MARGIN = 0.1;
const LEAST = 1.5;
const RING = 1.3;
const FRAMES = ["read", "chosen"] as const;
let hatchings = 0;

const tenths = (value: number) => Math.round(value * 10) / 10;

/** Over the tokens that `text` holds. */
export function barPainter(text: HTMLElement): BarPainter {
  const el = svg("svg", { class: "tl-strip-bars", "aria-hidden": "true" });
  const [read, chosen] = FRAMES.map((look) => h("i", { class: `tl-ring tl-${look}` }));
  const frames = { read: read!, chosen: chosen! };
  text.append(el, read!, chosen!);
  const shapes = new Map<string, SVGElement>();
  let boxes = new Map<Element, Box>();
  let measured = "";
  let form = "";
  let drawn: readonly Barred[] = [];
  let framed: Frames = {};

  const shape = (kind: string, look: string, side?: Side) => {
    const path = svg("path", { class: `tl-${kind} tl-${look}`, "data-side": side });
    if (look === "hatched") {
      const id = `tl-hatch-${++hatchings}`;
      const size = { width: 4, height: 4 };
      const turn = { patternUnits: "userSpaceOnUse", patternTransform: "rotate(-45)" };
      const ground = svg("rect", { ...size, opacity: 0.45 });
      const line = svg("rect", { width: 4, height: 2.2 });
      el.append(svg("pattern", { id, "data-side": side, ...size, ...turn }, ground, line));
      path.style.fill = `url(#${id})`;
    }
    el.append(path);
    return path;
  };
  const boxOf = (place: Element): Box => {
    let box = boxes.get(place);
    if (!box) {
      const { x, y, width, height } = place.getBoundingClientRect();
      const frame = text.getBoundingClientRect();
      box = [x - frame.x, y - frame.y, width, height];
      boxes.set(place, box);
    }
    return box;
  };

  const paint = () => {
    const paths = new Map<string, string>();
    const add = (name: string, x: number, y: number, width: number, height: number) => {
      if (width <= 0 || height <= 0) return;
      const left = tenths(x);
      const path = `M${left} ${tenths(y)}h${tenths(width)}v${tenths(height)}H${left}z`;
      paths.set(name, (paths.get(name) ?? "") + path);
    };
    const put = (kind: string, { el, side, size, top, look }: Bar) => {
      const [x, y, width, whole] = boxOf(el);
      if (!size) return;
      const height = Math.max(LEAST, size * whole);
      const from = y + Math.min(top * whole, whole - height);
      // A ring lies inside.
      const ring = look === "hollow" ? RING : 0;
      const wide = (1 - 2 * MARGIN) * width - ring;
      const left = x + MARGIN * width + ring / 2;
      if (whole) add(`${kind} ${look} ${side}`, left, from + ring / 2, wide, height - ring);
    };
    for (const { word, bars, lanes } of drawn) {
      boxOf(word); // while nothing has to be laid out for it
      for (const bar of bars) put("bars", bar);
      for (const { el, bars } of lanes) {
        const [x, y, width, height] = boxOf(el);
        if ("skipped" in el.dataset) add("lanes skipped", x, y, width, height);
        else if (height) add("lanes middle", x, y + (height - 1) / 2, width, 1);
        for (const bar of bars) put("lanes", bar);
      }
    }
    for (const look of FRAMES) {
      const word = framed[look];
      frames[look].style.cssText = word ? boxStyle(...boxOf(word)) : "display: none";
    }
    for (const name of paths.keys()) {
      const [kind, look, side] = name.split(" ") as [string, string, Side?];
      if (!shapes.has(name)) shapes.set(name, shape(kind, look, side));
    }
    for (const [name, path] of shapes) setAttribute(path, "d", paths.get(name));
  };

  // After the page is laid out, and before it is painted: nothing is laid out to be measured.
  const resized = new ResizeObserver(() => {
    measured = form;
    boxes = new Map();
    paint();
  });
  resized.observe(text);
  return {
    draw(tokens, around, wanted) {
      drawn = tokens;
      framed = around;
      form = wanted;
      if (measured === form) return paint();
      resized.unobserve(text);
      resized.observe(text);
    },
  };
}
