// Layers by heads, three times: base, tuned, and their difference or change.

import { SIDES } from "../../contract/contract.ts";
import type { Selection } from "../../core/selection.ts";
import { boxStyle, fill, h, listen, taken, widthOf } from "../../draw/dom.ts";
import { number, outOfOne, signed } from "../../draw/format.ts";
import { drawCells } from "../../draw/heatmap.ts";
import { type Colour, diverging, ramp, rgb, sequential } from "../../draw/theme.ts";
import { tips } from "../../draw/tooltip.ts";
import { largest } from "../../maths/numbers.ts";
import type { Setting } from "../../shell/frame.ts";
import type { HeadNumbers } from "./data.ts";
import { COLUMNS, type Facts, MEASURES } from "./measures.ts";

interface Geometry {
  width: number;
  height: number;
}

export function headGrid({ store, surface, tooltip, signal }: Setting) {
  const { layers, heads } = store.manifest.pair;
  const pictures = COLUMNS.map((name) => {
    const canvas = h("canvas", { width: 0, height: 0, "data-side": name, "aria-hidden": "true" });
    const cursor = h("i", { class: "tl-cursor", hidden: true });
    const title = h("span", { class: "tl-picture-title tl-quiet" });
    const key = h("span", { class: "tl-scale tl-quiet" });
    const axis = h("span", { class: "tl-axis tl-quiet", "data-shared": true });
    const served = h("div", { "aria-hidden": "true" });
    const frame = h("div", { class: "tl-frame" }, canvas, served, cursor);
    const el = h(
      "figure",
      { class: "tl-picture" },
      title,
      h("div", { class: "tl-plot" }, axis, frame),
      key,
    );
    return { name, canvas, served, cursor, title, key, axis, el };
  });
  const status = h("span", { class: "tl-sr", role: "status" });
  const el = h(
    "div",
    {
      class: "tl-flow tl-grids",
      tabindex: 0,
      role: "application",
      "aria-roledescription": "grid of attention heads",
      "data-layers": layers,
      "data-heads": heads,
    },
    ...pictures.map((picture) => picture.el),
    status,
  );
  const room = widthOf(el, signal);
  let geometry: Geometry = { width: 1, height: 1 };
  let drawn: HeadNumbers | null = null;

  const cellAt = (target: HTMLElement, x: number, y: number): [number, number] | null => {
    const canvas = target.closest("canvas");
    if (!canvas) return null;
    const box = canvas.getBoundingClientRect();
    const layer = Math.floor((y - box.top) / geometry.height);
    const head = Math.floor((x - box.left) / geometry.width);
    return layer >= 0 && layer < layers && head >= 0 && head < heads ? [layer, head] : null;
  };
  listen(el, "click", { signal }, (event) => {
    const cell = cellAt(event.target as HTMLElement, event.clientX, event.clientY);
    if (!cell) return;
    const [layer, head] = cell;
    const again = store.selection.layer === layer && store.selection.head === head;
    store.select({ layer, head: again ? -1 : head });
  });
  listen(el, "keydown", { signal }, (event) => {
    const step = STEPS[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    taken(event);
    const { layer, head } = store.selection;
    store.select({
      layer: clamp(head < 0 ? Math.max(layer, 0) : layer + step[0], layers),
      head: clamp(head < 0 ? 0 : head + step[1], heads),
    });
  });
  tips(el, tooltip, signal, (target, x, y) => {
    const cell = cellAt(target, x, y);
    if (!cell || !drawn) return null;
    store.pointAt({ layer: cell[0], head: cell[1] });
    return {
      title: `layer ${cell[0]}, head ${cell[1]}`,
      lines: linesOf(drawn, cell[0] * heads + cell[1]),
    };
  });

  return {
    el,
    /** `served` are heads, counted over all layers, that the chosen direction serves. */
    draw(numbers: HeadNumbers, { layer, head }: Selection, served: readonly number[]): void {
      drawn = numbers;
      const { palette, scale } = surface;
      geometry = cellSize(room() || 600, layers, heads, scale);
      const { values, exact } = numbers;
      const change = numbers.thirdIs !== "tuned − base";
      const hatched = numbers.measure === "effect";
      const max = largest(values.base, values.tuned);
      const changeOnly = numbers.thirdIs === "change";
      for (const { name, ...picture } of pictures) {
        const third = name === "third";
        picture.el.hidden = changeOnly && !third;
        if (changeOnly && !third) continue;
        const side = third ? "change" : name;
        const colour = third && !change ? diverging(palette) : sequential(palette, side);
        const full = third ? largest(values.third) : max;
        const known = third ? undefined : exact?.[name];
        picture.title.textContent = third ? numbers.thirdIs : name;
        drawCells(picture.canvas, {
          rows: layers,
          columns: heads,
          values: values[name],
          max: full,
          ...geometry,
          gap: geometry.width >= 12 ? 2 : geometry.width >= 6 ? 1 : 0,
          colour,
          absent: rgb(palette.absent),
          hatched: () => hatched,
          dotted: (i) => hatched && Number.isFinite(known?.[i]),
          ink: palette.ink,
        });
        drawKey(picture.key, full, third && !change, colour, MEASURES[numbers.measure]);
        drawAxis(picture.axis, layers, geometry.height, name === (changeOnly ? "third" : "base"));
        place(picture.cursor, geometry, layer, head, heads);
        fill(
          picture.served,
          ...served.map((at) => {
            const { width, height } = geometry;
            const [left, top] = [(at % heads) * width, Math.floor(at / heads) * height];
            const style = boxStyle(left, top, width - RIM, height - RIM);
            return h("i", { class: "tl-served", style });
          }),
        );
      }
      Object.assign(pictures[0]!.canvas, { twinlens: { values } });
      const where =
        head >= 0
          ? `layer ${layer}, head ${head}: ${linesOf(numbers, layer * heads + head).join(", ")}`
          : "no head selected; arrow keys select";
      el.setAttribute("aria-label", `Heads, ${layers} layers by ${heads}; ${where}`);
      status.textContent = head >= 0 ? where : "";
    },
  };
}

/** Pixels between cells, where the cursor lies. */
const RIM = 2;

const STEPS: Record<string, [number, number]> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

const clamp = (value: number, length: number) => Math.min(Math.max(value, 0), length - 1);

/** Size of one cell, so that three pictures stand side by side. */
export function cellSize(width: number, layers: number, heads: number, scale: number): Geometry {
  const free = (width - 24 - 2 * 18) / 3;
  return {
    width: Math.max(3, Math.min(Math.floor(free / heads), Math.round(24 * scale))),
    height: Math.max(3, Math.min(Math.floor((340 * scale) / layers), Math.round(24 * scale))),
  };
}

/** The numbers of one head in words. */
export function linesOf(numbers: HeadNumbers, at: number): string[] {
  const { values, thirdIs, exact, measure } = numbers;
  const { most, unit } = MEASURES[measure];
  const said = (value: number, as = number) => (most === 1 ? outOfOne(value, as) : as(value));
  const name = thirdIs === "tuned − base" ? "difference" : thirdIs;
  const as = thirdIs === "tuned − base" ? signed : number;
  const estimate = measure === "effect" ? " (estimate)" : "";
  const lines = [
    ...SIDES.filter((side) => !Number.isNaN(values[side][at])).map(
      (side) => `${side} ${said(values[side][at]!)}${estimate}`,
    ),
    `${name} ${said(values.third[at]!, as)}${unit}`,
  ];
  for (const side of SIDES) {
    const value = measure === "effect" ? exact?.[side][at] : undefined;
    if (Number.isFinite(value)) lines.push(`${side} ${number(value!)} (exact)`);
  }
  return lines;
}

function drawKey(
  key: HTMLElement,
  max: number,
  twoSided: boolean,
  colour: Colour,
  { unit, most }: Facts,
): void {
  const high = twoSided ? signed(max) : number(max);
  const low = twoSided ? signed(-max) : "0";
  fill(key, low, ramp(colour, twoSided ? -1 : 0), `${high}${most ? ` of ${most}` : ""}${unit}`);
}

/** Numbers of some layers beside the first picture. */
function drawAxis(axis: HTMLElement, layers: number, height: number, shown: boolean): void {
  axis.hidden = !shown;
  const look = `${layers} ${height}`;
  if (axis.dataset.look === look) return;
  axis.dataset.look = look;
  const every = Math.max(1, Math.ceil(13 / height));
  const labels = Array.from({ length: Math.ceil(layers / every) }, (_, i) => {
    const layer = i * every;
    return h("span", { style: `top: ${layer * height + height / 2}px` }, String(layer));
  });
  fill(axis, ...labels);
  axis.style.height = `${layers * height}px`;
}

function place(
  cursor: HTMLElement,
  { width, height }: Geometry,
  layer: number,
  head: number,
  heads: number,
): void {
  cursor.hidden = layer < 0;
  const across = (head < 0 ? heads : 1) * width;
  const [left, top] = [Math.max(head, 0) * width, layer * height];
  cursor.style.cssText = boxStyle(left - 2, top - 2, across + 2, height + 2);
}
