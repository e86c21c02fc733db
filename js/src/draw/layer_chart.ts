// Lines over the layers, as SVG: they are drawn anew with every selection, so it takes a millisecond.

import { largest, type Numbers } from "../maths/numbers.ts";
import { h, listen, setAttribute, svg, widthOf } from "./dom.ts";
import { type Tooltip, tips } from "./tooltip.ts";

export interface Series {
  name: string;
  label: string;
  mark: keyof typeof MARKS;
  dashed?: true;
}

/** What stays the same from one selection to the next. */
export interface Axes {
  label: string;
  series: readonly Series[];
  /** Of the whole chart, in CSS pixels. */
  height: number;
  /** The lowest and the highest value; else from zero to a little above the largest. */
  range?: readonly [number, number];
  /** A value with its unit. */
  tell(value: number): string;
}

export interface Curves {
  /** The layer of the first values; -1 is the embedding. */
  first: number;
  values: Readonly<Record<string, Numbers>>;
  /** The layer that is selected; none for -1. */
  layer: number;
}

/** Room for what stands at the axes. */
const LEFT = 54;
const BELOW = 42;
const RIGHT = 4;
const TEXT = 12;
/** How many ticks there are about, along and up. */
const ALONG = 12;
const UP = 6;
const R = 4;
const MARKS = {
  circle: (x: number, y: number) =>
    `M${x - R} ${y}a${R} ${R} 0 1 0 ${2 * R} 0a${R} ${R} 0 1 0 ${-2 * R} 0z`,
  square: (x: number, y: number) => `M${x - R} ${y - R}h${2 * R}v${2 * R}h${-2 * R}z`,
  triangle: (x: number, y: number) => `M${x - R} ${y + 2.3}h${2 * R}l${-R} -6.9z`,
};

/** `select` is told the layer of a click. */
export function layerChart(
  { label, series, height, range, tell }: Axes,
  tooltip: Tooltip,
  signal: AbortSignal,
  select: (layer: number) => void,
) {
  const grid = svg("path", { class: "tl-layer-grid" });
  const chosen = svg("path", { class: "tl-layer-chosen" });
  const lines = series.map(({ name, mark, dashed }) => ({
    name,
    mark: MARKS[mark],
    line: svg("path", { class: "tl-layer-line", "data-line": name, "data-dashed": dashed }),
    marks: svg("path", { class: "tl-layer-marks", "data-line": name }),
  }));
  const ticks = svg("g", {});
  const inside = svg("svg", {}, chosen, ...lines.flatMap(({ line, marks }) => [line, marks]));
  const picture = svg("svg", { role: "img" }, grid, inside, ticks);
  const legend = h(
    "ul",
    { class: "tl-flow tl-layer-legend", "aria-hidden": "true" },
    ...series.map((entry) => h("li", {}, swatch(entry), entry.label)),
  );
  const el = h("figure", { class: "tl-layer-chart", "aria-label": label }, legend, picture);

  let drawn: { curves: Curves; left: number; step: number } | null = null;
  const width = widthOf(el, signal);

  const layerAt = (x: number) => {
    if (!drawn) return null;
    const { curves, left, step } = drawn;
    const at = Math.floor((x - picture.getBoundingClientRect().left - left) / step);
    return at >= 0 && at < lengthOf(curves) ? at : null;
  };
  listen(picture, "click", { signal }, ({ clientX }) => {
    const at = layerAt(clientX);
    if (at !== null && at + drawn!.curves.first >= 0) select(at + drawn!.curves.first);
  });
  tips(el, tooltip, signal, (target, x) => {
    const at = target.closest("svg[role=img]") ? layerAt(x) : null;
    if (at === null) return null;
    const { first, values } = drawn!.curves;
    return {
      title: at + first < 0 ? "embedding" : `layer ${at + first}`,
      lines: series.map(({ name, label }) => `${label}: ${tell(values[name]![at]!)}`),
    };
  });

  const draw = (curves: Curves, scale: number) => {
    const room = width() || 500;
    const [left, below, text] = [LEFT * scale, BELOW * scale, TEXT * scale];
    const wide = room - left - RIGHT;
    const high = height * scale - below;
    const count = lengthOf(curves);
    const step = wide / (count - 0.2);
    drawn = { curves, left: left - 0.1 * step, step };
    const [low, most] = range ?? [0, 1.05 * largest(...Object.values(curves.values)) || 1];
    const x = (at: number) => (at + 0.4) * step;
    const y = (value: number) => ((most - value) / (most - low)) * high;
    setAttribute(picture, "width", room);
    setAttribute(picture, "height", height * scale);
    setAttribute(picture, "aria-label", `${label} by layer: ${summary(series, curves, tell)}`);
    picture.style.fontSize = `${text}px`;
    legend.style.fontSize = `${text}px`;
    legend.style.paddingInlineStart = `${left}px`;
    for (const [name, value] of Object.entries({ x: left, y: 0, width: wide, height: high })) {
      setAttribute(inside, name, value);
    }

    const up = tickStep((most - low) / UP);
    const levels: number[] = [];
    for (let at = Math.ceil(low / up); at * up <= most; at++) levels.push(at * up);
    setAttribute(grid, "d", levels.map((v) => `M${left} ${short(y(v))}h${short(wide)}`).join(""));
    const layers: number[] = [];
    const along = Math.max(tickStep(count / ALONG), 1);
    for (let at = 0; at < count; at++) if ((at + curves.first) % along === 0) layers.push(at);
    const digits = Math.max(0, -Math.floor(Math.log10(up) + 1e-9));
    ticks.replaceChildren(
      ...levels.map((v) =>
        word(
          v === 0 ? "0" : v.toFixed(digits).replace("-", "−"),
          left - 8,
          y(v) + 0.35 * text,
          "end",
        ),
      ),
      ...layers.map((at) =>
        word(
          String(at + curves.first).replace("-", "−"),
          left + x(at),
          high + 1.5 * text,
          "middle",
        ),
      ),
      word("layer", left + wide / 2, high + 3 * text, "middle"),
      turnedWord(label, text, high / 2),
    );

    const { layer, first } = curves;
    const at = layer - first;
    const shown = layer >= 0 && at < count;
    setAttribute(chosen, "d", shown ? `M${short(x(at))} 0v${short(high)}` : null);
    for (const { name, mark, line, marks } of lines) {
      let path = "";
      let signs = "";
      let pen = "M";
      for (const [i, value] of Array.from(curves.values[name]!).entries()) {
        const [px, py] = [short(x(i)), short(y(value))];
        const known = !Number.isNaN(value);
        if (known) {
          path += `${pen}${px} ${py}`;
          signs += mark(px, py);
        }
        pen = known ? "L" : "M";
      }
      setAttribute(line, "d", path);
      setAttribute(marks, "d", signs);
    }
  };
  return {
    el,
    /** Nothing is shown without curves. */
    draw(curves: Curves | null, scale: number) {
      setAttribute(el, "hidden", curves === null);
      if (curves) draw(curves, scale);
    },
  };
}

function lengthOf({ values }: Curves): number {
  return Math.max(...Object.values(values).map((list) => list.length));
}

/** About as large, 1, 2 or 5 times a power of ten. */
function tickStep(wanted: number): number {
  const ten = 10 ** Math.floor(Math.log10(wanted));
  return ten * (wanted <= 1.5 * ten ? 1 : wanted <= 3 * ten ? 2 : wanted <= 7 * ten ? 5 : 10);
}

/** Where each line is highest. */
function summary(
  series: readonly Series[],
  { first, values }: Curves,
  tell: (value: number) => string,
): string {
  const highest = series.map(({ name, label }) => {
    const list = Array.from(values[name]!);
    const most = Math.max(...list.filter((value) => !Number.isNaN(value)));
    return `${label} highest at ${list.indexOf(most) + first} with ${tell(most)}`;
  });
  return highest.join(", ");
}

function swatch({ name, mark, dashed }: Series): Element {
  const line = { d: "M0 6H20", class: "tl-layer-line", "data-line": name, "data-dashed": dashed };
  const sign = { d: MARKS[mark](10, 6), class: "tl-layer-marks", "data-line": name };
  return svg("svg", { width: 20, height: 12 }, svg("path", line), svg("path", sign));
}

function word(text: string, x: number, y: number, anchor: string): Element {
  const made = svg("text", { x: short(x), y: short(y), "text-anchor": anchor });
  made.textContent = text;
  return made;
}

/** Beside the axis that goes up. */
function turnedWord(text: string, x: number, y: number): Element {
  const made = word(text, 0, 0, "middle");
  made.setAttribute("transform", `translate(${short(x)} ${short(y)}) rotate(-90)`);
  return made;
}

const short = (value: number) => Math.round(value * 10) / 10;
