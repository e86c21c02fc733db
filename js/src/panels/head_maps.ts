// The attention maps of one head: base, tuned, tuned - base.

import { largest, type Numbers } from "../core/numbers.ts";
import type { Store } from "../core/store.ts";
import { h } from "../draw/dom.ts";
import { number, percent, quote, signed, tokenText } from "../draw/format.ts";
import { drawMatrix } from "../draw/heatmap.ts";
import { rgb } from "../draw/scales.ts";
import { diverging, gradient, sequential } from "../draw/theme.ts";
import { type Tooltip, tips } from "../draw/tooltip.ts";
import { SIDES, type Side } from "../protocol.ts";
import type { Maps } from "./heads_data.ts";
import type { View } from "./panel.ts";

const PICTURES = ["base", "tuned", "third"] as const;
/** Labels are drawn where a row is at least this many pixels high. */
const LABELLED = 11;

export interface HeadMaps {
  el: HTMLElement;
  /** Draw the maps; null leaves the place empty. */
  draw(view: View, maps: Maps | null): void;
}

export function headMaps(store: Store, tooltip: Tooltip, signal: AbortSignal): HeadMaps {
  const pictures = PICTURES.map((name) => {
    const canvas = h("canvas", {
      width: 0,
      height: 0,
      "data-side": name,
      "data-map": name,
      "aria-hidden": "true",
    });
    const reading = h("i", { class: "tl-reading", hidden: true });
    const across = h("i", { class: "tl-cross", hidden: true });
    const down = h("i", { class: "tl-cross", hidden: true });
    const title = h("span", { class: "tl-picture-title" });
    const key = h("span", { class: "tl-scale" });
    const rows = h("span", { class: "tl-labels tl-row-labels" });
    const columns = h("span", { class: "tl-labels tl-column-labels" });
    const frame = h("div", { class: "tl-frame" }, canvas, reading, across, down);
    const el = h(
      "figure",
      { class: "tl-picture" },
      title,
      h("div", { class: "tl-plot" }, rows, frame),
      columns,
      key,
    );
    return { name, canvas, reading, across, down, title, key, rows, columns, el };
  });
  const title = h("h3", { class: "tl-title" });
  const note = h("span", { class: "tl-note" });
  const caption = h("p", { class: "tl-caption" });
  const area = h(
    "div",
    {
      class: "tl-maps",
      tabindex: 0,
      role: "application",
      "aria-roledescription": "attention maps",
    },
    ...pictures.map((picture) => picture.el),
  );
  const el = h(
    "div",
    { class: "tl-maps-block" },
    h("div", { class: "tl-heading" }, title, note),
    caption,
    area,
  );
  let drawn: Maps | null = null;
  let cell = 1;

  const cellAt = (target: HTMLElement, x: number, y: number): [number, number] | null => {
    const canvas = target.closest("canvas");
    if (!canvas || !drawn) return null;
    const box = canvas.getBoundingClientRect();
    const q = Math.floor((y - box.top) / cell);
    const k = Math.floor((x - box.left) / cell);
    const name = canvas.dataset.map as (typeof PICTURES)[number];
    const side = name === "third" ? drawn.common : drawn.side[name];
    return k >= 0 && k <= q && q < side ? [q, k] : null;
  };
  const crosshair = (at: [number, number] | null) => {
    for (const { across, down } of pictures) {
      across.hidden = down.hidden = at === null;
      if (!at) continue;
      across.style.cssText = `top:${at[0] * cell}px;left:0;right:0;height:${cell}px`;
      down.style.cssText = `left:${at[1] * cell}px;top:0;bottom:0;width:${cell}px`;
    }
  };
  area.addEventListener("pointerleave", () => crosshair(null), { signal });
  area.addEventListener(
    "click",
    (event) => {
      const at = cellAt(event.target as HTMLElement, event.clientX, event.clientY);
      if (at) store.select({ token: event.shiftKey ? at[1] : tokenRead(store, at[0]) });
    },
    { signal },
  );
  area.addEventListener(
    "keydown",
    (event) => {
      const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      event.stopPropagation();
      const last = Math.max(store.length("base"), store.length("tuned")) - 1;
      store.select({ token: Math.min(Math.max(store.selection.token + step, 0), last) });
    },
    { signal },
  );
  tips(
    area,
    tooltip,
    (target, x, y) => {
      const at = cellAt(target, x, y);
      crosshair(at);
      return at && drawn ? { title: where(store, at), lines: lines(drawn, at) } : null;
    },
    signal,
  );

  return {
    el,
    draw(view, maps) {
      drawn = maps;
      el.classList.toggle("tl-gone", maps === null);
      if (!maps) return;
      const { palette, scale } = view.surface;
      const longest = Math.max(maps.side.base, maps.side.tuned, 1);
      const free = ((area.clientWidth || 640) - 2 * 18) / 3;
      const roomy = Math.min(free, 250 * scale);
      const labelled = (roomy - 60) / longest >= LABELLED;
      const size = Math.max(60, Math.floor(labelled ? roomy - 60 : roomy));
      cell = size / longest;
      const skipFirst = store.options.setSinkAside;
      const visible = (values: Numbers, side: number) =>
        skipFirst ? Array.from(values, (v, i) => (i % side ? v : 0)) : values;
      const max = largest(...SIDES.map((side) => visible(maps.values[side], maps.side[side])));
      const thirdMax = largest(visible(maps.third, maps.common));
      for (const picture of pictures) {
        const third = picture.name === "third";
        const side = picture.name === "third" ? maps.common : maps.side[picture.name];
        const values = picture.name === "third" ? maps.third : maps.values[picture.name];
        const colour =
          picture.name === "third" ? diverging(palette) : sequential(palette, picture.name);
        picture.title.textContent = third ? "tuned − base" : picture.name;
        drawMatrix(picture.canvas, {
          side,
          values,
          max: third ? thirdMax : max,
          size: side * cell,
          colour,
          absent: rgb(palette.absent),
          skipFirst,
        });
        Object.assign(picture.canvas, { twinlens: { values: { [picture.name]: values }, side } });
        const ramp = h("i", { class: "tl-ramp" });
        ramp.style.background = gradient(colour, third ? -1 : 0, 1);
        picture.key.replaceChildren(
          third ? signed(-thirdMax) : "0",
          ramp,
          third ? signed(thirdMax) : number(max),
        );
        const row = store.reading;
        picture.reading.hidden = row < 0 || row >= side;
        picture.reading.style.top = `${row * cell - 1}px`;
        picture.reading.style.height = `${Math.max(cell, 3) + 2}px`;
        const owner: Side = picture.name === "base" ? "base" : "tuned";
        label(picture.rows, store, owner, labelled && picture.name === "base" ? side : 0, cell);
        label(picture.columns, store, owner, labelled ? side : 0, cell);
        picture.columns.style.marginLeft = labelled && picture.name === "base" ? "62px" : "";
      }
      title.textContent = `Layer ${maps.layer}, head ${maps.head}`;
      note.textContent = `${maps.chosen ? "" : "changed most · "}change ${number(maps.change)} bit`;
      caption.textContent = captionOf(store, maps);
      area.setAttribute("aria-label", `${title.textContent}; arrow keys move along tokens`);
      el.classList.toggle("tl-unchosen", !maps.chosen);
    },
  };
}

/** The token whose prediction a row belongs to: the next one inside the answer. */
export function tokenRead(store: Store, position: number): number {
  const next = position + 1;
  const last = Math.max(store.length("base"), store.length("tuned"));
  return next >= store.promptLength && next < last ? next : position;
}

function captionOf(store: Store, maps: Maps): string {
  const mark =
    store.reading >= 0
      ? ` The outlined row reads for ${quote(store.text(store.selection.token))}.`
      : "";
  const sink = SIDES.map((side) => {
    const width = maps.side[side];
    let sum = 0;
    for (let q = 0; q < width; q++) sum += maps.values[side][q * width]! / width;
    return `${percent(sum)} ${side}`;
  }).join(", ");
  const aside = store.options.setSinkAside
    ? ` The first token is set aside: it takes ${sink}.`
    : ` The first token takes ${sink}.`;
  return `Attention of every token (rows) to every earlier token (columns).${mark}${aside} Attention is not attribution.`;
}

function where(store: Store, [q, k]: [number, number]): string {
  return `${quote(store.text(q))} (${q}) to ${quote(store.text(k))} (${k})`;
}

function lines(maps: Maps, [q, k]: [number, number]): string[] {
  const list = SIDES.filter((side) => q < maps.side[side]).map(
    (side) => `${side} ${number(maps.values[side][q * maps.side[side] + k]!)}`,
  );
  if (q < maps.common) list.push(`difference ${signed(maps.third[q * maps.common + k]!)}`);
  return list;
}

function label(box: HTMLElement, store: Store, side: Side, length: number, cell: number): void {
  box.hidden = length === 0;
  const names = Array.from({ length }, (_, i) => {
    const name = h("bdi", {}, tokenText(store.text(i, side)).word);
    name.style.setProperty("--at", `${(i + 0.5) * cell}px`);
    return name;
  });
  box.replaceChildren(...names);
}
