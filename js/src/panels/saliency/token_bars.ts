// The bars of a run of tokens: a few paths over the text, whatever number of tokens there is. As
// elements of their own, hundreds of them would have their styles worked out with every selection.

import { SIDES, type Side } from "../../contract/contract.ts";
import { setAttribute, svg } from "../../draw/dom.ts";

/** A bar in its place, which keeps the number; from `top`, a share of the place, where that is given. */
export interface Bar {
  el: HTMLElement;
  value: number | undefined;
  /** Share of the place that it fills. */
  size: number;
  top: number | undefined;
  side: Side;
  look: string;
}

/** What is drawn of a token. */
export interface Barred {
  el: HTMLElement;
  word: HTMLElement;
  /** Above and below the word, and their difference. */
  bars: readonly Bar[];
  /** Rows of small bars under it. */
  lanes: readonly { el: HTMLElement; bars: readonly Bar[] }[];
}

export interface BarPainter {
  el: SVGElement;
  /** Draw the bars of some tokens; `form` is all that decides where bars have their places. */
  draw(tokens: readonly Barred[], form: string): void;
}

interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Bars are narrower than their words, and never so low that they are not seen. */
const WIDTH = 0.8;
const LEAST = 1.5;
const RING = 1.3;
let painters = 0;

const tenths = (value: number) => Math.round(value * 10) / 10;

/** `text` holds all tokens, of which `all` says where they are. */
export function barPainter(text: HTMLElement, all: readonly Barred[]): BarPainter {
  const id = `tl-hatch-${++painters}`;
  const shapes = new Map<string, SVGElement>();
  const shape = (name: string, props: Record<string, string>) => {
    const path = svg("path", props);
    shapes.set(name, path);
    return path;
  };
  const hatching = (side: Side) =>
    svg(
      "pattern",
      {
        id: `${id}-${side}`,
        "data-side": side,
        width: 4,
        height: 4,
        patternUnits: "userSpaceOnUse",
        patternTransform: "rotate(-45)",
      },
      svg("rect", { width: 4, height: 4, class: "tl-hatch-ground" }),
      svg("rect", { width: 4, height: 2.2 }),
    );
  const ofSides = (name: string, full: string) =>
    SIDES.flatMap((side) => [
      shape(`${name} ${side} ${full}`, { "data-side": side }),
      shape(`${name} ${side} hatched`, { fill: `url(#${id}-${side})` }),
      shape(`${name} ${side} hollow`, { "data-side": side, class: "tl-hollow" }),
    ]);
  const el = svg(
    "svg",
    { class: "tl-strip-bars", "aria-hidden": "true" },
    ...SIDES.map(hatching),
    svg("g", { class: "tl-bars" }, ...ofSides("bar", "solid")),
    svg(
      "g",
      {},
      shape("middle", { class: "tl-middle" }),
      shape("skipped", { class: "tl-skipped" }),
      ...ofSides("lane", "track"),
    ),
  );

  let places = new Map<Barred, Box>();
  /** Where bars lie, measured from the top of their word. */
  let rows = new Map<string, Box>();
  let measured = "";
  let form = "";
  let drawn: readonly Barred[] = [];

  const measure = () => {
    const frame = text.getBoundingClientRect();
    const box = ({ x, y, width, height }: DOMRect): Box => ({
      ...{ x: x - frame.x, y: y - frame.y, width, height },
    });
    places = new Map(all.map((token) => [token, box(token.word.getBoundingClientRect())]));
    const first = drawn.find((token) => places.get(token)!.width > 0);
    rows = new Map();
    if (!first) return;
    const { y } = places.get(first)!;
    const put = (name: string, place: HTMLElement) => {
      const row = box(place.getBoundingClientRect());
      rows.set(name, { ...row, y: row.y - y });
    };
    for (const [i, bar] of first.bars.entries()) put(`bar ${i}`, bar.el);
    for (const [k, lane] of first.lanes.entries()) {
      put(`lane ${k}`, lane.el);
      for (const [i, bar] of lane.bars.entries()) put(`lane ${k} ${i}`, bar.el);
    }
  };

  const paint = () => {
    const paths = new Map<string, string>();
    const add = (name: string, x: number, y: number, width: number, height: number) => {
      const left = tenths(x);
      const path = `M${left} ${tenths(y)}h${tenths(width)}v${tenths(height)}H${left}z`;
      paths.set(name, (paths.get(name) ?? "") + path);
    };
    const put = (name: string, bar: Bar, { x, y, width }: Box, row: Box, up: boolean) => {
      if (!(bar.size > 0) || row.height <= 0) return;
      const height = Math.max(LEAST, bar.size * row.height);
      const from = bar.top === undefined ? (up ? row.height - height : 0) : bar.top * row.height;
      const [left, wide] = [x + ((1 - WIDTH) / 2) * width, WIDTH * width];
      const of = `${name} ${bar.side} ${bar.look}`;
      if (bar.look !== "hollow") return add(of, left, y + row.y + from, wide, height);
      // The ring lies inside.
      const [across, down] = [Math.max(wide - RING, 0.1), Math.max(height - RING, 0.1)];
      add(of, left + RING / 2, y + row.y + from + RING / 2, across, down);
    };
    for (const token of drawn) {
      const place = places.get(token);
      if (!place || place.width <= 0) continue;
      for (const [i, bar] of token.bars.entries()) {
        const row = rows.get(`bar ${i}`);
        if (row) put("bar", bar, place, row, i === 0);
      }
      for (const [k, lane] of token.lanes.entries()) {
        const row = rows.get(`lane ${k}`);
        if (!row || row.height <= 0) continue;
        const { y, height } = row;
        if ("skipped" in lane.el.dataset) add("skipped", place.x, place.y + y, place.width, height);
        else add("middle", place.x, place.y + y + (height - 1) / 2, place.width, 1);
        for (const [i, bar] of lane.bars.entries()) {
          const half = rows.get(`lane ${k} ${i}`);
          if (half) put("lane", bar, place, half, i === 0);
        }
      }
    }
    for (const [name, path] of shapes) setAttribute(path, "d", paths.get(name) ?? null);
  };

  // After the page is laid out, and before it is painted: nothing is laid out to be measured.
  const resized = new ResizeObserver(() => {
    measured = form;
    measure();
    paint();
  });
  resized.observe(text);
  return {
    el,
    draw(tokens, wanted) {
      drawn = tokens;
      form = wanted;
      if (measured === form) return paint();
      resized.unobserve(text);
      resized.observe(text);
    },
  };
}
