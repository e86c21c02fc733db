// The attention maps of one head: base, tuned, tuned - base; whole, or the part zoomed to.

import { SIDES, type Side } from "../../contract/contract.ts";
import { optional } from "../../core/load.ts";
import type { HeadColumn } from "../../core/options.ts";
import type { State } from "../../core/state.ts";
import { fill, h, listen, taken, widthOf } from "../../draw/dom.ts";
import { number, outOfOne, percent, quote, signed, tokenText } from "../../draw/format.ts";
import { colourScale, drawMatrix, larger } from "../../draw/heatmap.ts";
import { diverging, ramp, rgb, sequential } from "../../draw/theme.ts";
import { tips } from "../../draw/tooltip.ts";
import { memo, once } from "../../maths/memo.ts";
import type { Numbers } from "../../maths/numbers.ts";
import type { Part } from "../../maths/zoom.ts";
import type { Row, Setting } from "../../shell/frame.ts";
import { type Maps, mapKeys, mapsOf } from "./data.ts";
import type { HeadView } from "./detail.ts";
import { COLUMNS } from "./measures.ts";
import { type Cell, zoomControls } from "./zoom_controls.ts";

/** Labels are drawn where a row is at least this many pixels high. */
const LABELLED = 11;
const GUTTER = 62;
const GAP = 18;

export function headMaps({ store, surface, tooltip, signal }: Setting): HeadView {
  const pictures = COLUMNS.map((name) => {
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
    const title = h("span", { class: "tl-picture-title tl-quiet" });
    const key = h("span", { class: "tl-scale tl-quiet" });
    const rows = h("span", { class: "tl-labels tl-quiet tl-row-labels" });
    const columns = h("span", { class: "tl-labels tl-quiet tl-column-labels" });
    const frame = h("div", { class: "tl-frame" }, canvas, reading, across, down);
    const el = h(
      "figure",
      { class: "tl-picture" },
      title,
      h("div", { class: "tl-plot" }, rows, frame),
      columns,
      key,
    );
    return { name, canvas, frame, reading, across, down, title, key, rows, columns, el };
  });
  const area = h(
    "div",
    {
      class: "tl-flow tl-maps",
      tabindex: 0,
      role: "application",
      "aria-roledescription": "attention maps",
    },
    ...pictures.map((picture) => picture.el),
  );
  const width = widthOf(area, signal);
  let drawn: Maps | null = null;
  let cell: Cell = { width: 1, height: 1 };

  const cellAt = (target: HTMLElement, x: number, y: number): [number, number] | null => {
    const canvas = target.closest("canvas");
    if (!canvas || !drawn) return null;
    const box = canvas.getBoundingClientRect();
    const q = zoom.part.top + Math.floor((y - box.top) / cell.height);
    const k = zoom.part.left + Math.floor((x - box.left) / cell.width);
    const side = drawn.side[canvas.dataset.map as HeadColumn];
    return k >= 0 && k <= q && q < side ? [q, k] : null;
  };
  const crosshair = (at: [number, number] | null) => {
    const [top, left] = at ? [at[0] - zoom.part.top, at[1] - zoom.part.left] : [0, 0];
    for (const { across, down } of pictures) {
      across.hidden = down.hidden = at === null;
      across.style.cssText = `top:${top * cell.height}px;left:0;right:0;height:${cell.height}px`;
      down.style.cssText = `left:${left * cell.width}px;top:0;bottom:0;width:${cell.width}px`;
    }
  };
  const zoom = zoomControls(area, signal, {
    cell: () => cell,
    centre: () => {
      const row = drawn?.reading ?? -1;
      return row < 0 ? null : [row, row];
    },
    redraw: () => {
      if (drawn) draw(drawn);
    },
  });
  listen(area, "pointerleave", { signal }, () => crosshair(null));
  listen(area, "click", { signal }, (event) => {
    const at = cellAt(event.target as HTMLElement, event.clientX, event.clientY);
    if (at) store.select({ token: event.shiftKey ? at[1] : tokenRead(store, at[0]) });
  });
  listen(area, "keydown", { signal }, (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    taken(event);
    const last = Math.max(store.length("base"), store.length("tuned")) - 1;
    store.select({ token: Math.min(Math.max(store.selection.token + step, 0), last) });
    zoom.hold(store.reading);
  });
  tips(area, tooltip, signal, (target, x, y) => {
    const at = cellAt(target, x, y);
    crosshair(at);
    return at && drawn ? { title: where(store, at), lines: lines(drawn, at) } : null;
  });

  const el = h("div", {}, area, zoom.el);

  const stable = memo<void>();
  const drawAll = (maps: Maps, part: Part, named: { rows: boolean; columns: boolean }) => {
    const { palette } = surface;
    const { skipFirst } = maps;
    const scaleOf = (name: HeadColumn) =>
      colourScale(valuesOf(maps, name), maps.side[name], clipped(part, maps.side[name]), skipFirst);
    const scaleOfSides = once(() => larger(...SIDES.map(scaleOf)));
    const scaleOfThird = once(() => scaleOf("third"));
    for (const { name, ...picture } of pictures) {
      const third = name === "third";
      const side = maps.side[name];
      const values = () => valuesOf(maps, name);
      const colour = third ? diverging(palette) : sequential(palette, name);
      const scale = third ? scaleOfThird : scaleOfSides;
      const shown = clipped(part, side);
      picture.title.textContent = third ? "tuned − base" : name;
      const matrix = {
        side,
        values,
        max: () => scale().full,
        part: shown,
        width: (shown.right - shown.left) * cell.width,
        height: (shown.bottom - shown.top) * cell.height,
        colour,
        absent: rgb(palette.absent),
        skipFirst,
      };
      drawMatrix(picture.canvas, matrix, () => {
        const { full, clips } = scale();
        const low = third ? `${clips ? "≤ " : ""}${signed(-full)}` : "0";
        const high = `${third ? signed(full) : number(full)}${full < 1 ? " of 1" : ""}`;
        fill(picture.key, low, ramp(colour, third ? -1 : 0), `${clips ? "≥ " : ""}${high}`);
      });
      const painted = {
        side,
        get values() {
          return { [name]: values() };
        },
      };
      Object.assign(picture.canvas, { twinlens: painted });

      const first = name === "base";
      const owner = first ? "base" : "tuned";
      const [q, k] = [[shown.top, shown.bottom] as const, [shown.left, shown.right] as const];
      label(picture.rows, store, owner, named.rows && first ? q : null, cell.height);
      label(picture.columns, store, owner, named.columns ? k : null, cell.width);
      for (const part of [picture.columns, picture.title, picture.key]) {
        part.style.marginLeft = named.rows && first ? `${GUTTER}px` : "";
      }
    }
  };
  const draw = (maps: Maps) => {
    drawn = maps;
    crosshair(null);
    const { palette, scale } = surface;
    const { reading, skipFirst } = maps;
    const longest = Math.max(maps.side.base, maps.side.tuned, 1);
    const part = zoom.update(longest);
    const [rows, columns] = [part.bottom - part.top, part.right - part.left];
    const room = width() || 640;
    const wide = Math.min((room - 2 * GAP) / 3, 250 * scale);
    const narrow = Math.min((room - GUTTER - 2 * GAP) / 3, 250 * scale);
    const least = LABELLED * scale;
    const named = { rows: narrow / rows >= least, columns: narrow / columns >= least };
    const size = Math.max(60, Math.floor(named.rows ? narrow : wide));
    cell = { width: size / columns, height: size / rows };
    const all = [...Object.values(maps.values), maps.side.third, ...Object.values(part), size];
    stable([...all, palette, scale, skipFirst, globalThis.devicePixelRatio], () =>
      drawAll(maps, part, named),
    );
    for (const { name, ...picture } of pictures) {
      const { top, bottom } = clipped(part, maps.side[name]);
      picture.reading.hidden = reading < top || reading >= bottom;
      picture.reading.style.top = `${(reading - top) * cell.height - 1}px`;
      picture.reading.style.height = `${Math.max(cell.height, 3) + 2}px`;
    }
    area.setAttribute(
      "aria-label",
      `Layer ${maps.layer}, head ${maps.head}; arrow up and down move along tokens, plus and minus zoom`,
    );
  };

  return {
    name: "maps",
    label: "Maps",
    el,
    needs(_state, _got, shown) {
      const { base, tuned } = mapKeys(shown);
      return optional(base, tuned);
    },
    picture(state, got, shown) {
      const maps = mapsOf(state, got, shown);
      return {
        caption: maps ? "Stronger colour: the row’s token attends more to the column’s." : "",
        how: maps ? captionOf(state, maps) : "",
        table: () => mapTable(state, maps),
        draw() {
          el.classList.toggle("tl-gone", maps === null);
          if (maps) draw(maps);
        },
      };
    },
  };
}

/** The token whose prediction a row belongs to: the next one inside the answer. */
export function tokenRead(state: State, position: number): number {
  const next = position + 1;
  const last = Math.max(state.length("base"), state.length("tuned"));
  return next >= state.promptLength && next < last ? next : position;
}

function valuesOf(maps: Maps, name: HeadColumn): Numbers {
  return name === "third" ? maps.third() : maps.values[name];
}

function clipped(part: Part, side: number): Part {
  const edges = Object.entries(part).map(([edge, at]) => [edge, Math.min(at, side)]);
  return Object.fromEntries(edges);
}

function captionOf(state: State, maps: Maps): string {
  const mark =
    maps.reading >= 0
      ? ` The outlined row reads for ${quote(state.text(state.selection.token))}.`
      : "";
  const sink = SIDES.map((side) => {
    const width = maps.side[side];
    let sum = 0;
    for (let q = 0; q < width; q++) sum += maps.values[side][q * width]! / width;
    return `${percent(sum)} ${side}`;
  }).join(", ");
  const aside = maps.skipFirst
    ? ` The first token is set aside: it takes ${sink}.`
    : ` The first token takes ${sink}.`;
  return `Attention of every token (rows) to every earlier token (columns).${mark}${aside} Attention is not attribution.`;
}

/** Cell by cell, for a file. */
function mapTable(state: State, maps: Maps | null): Row[] {
  const names = ["layer", "head", "query", "query_token", "key", "key_token", "base", "tuned"];
  const rows: Row[] = [];
  const at = (side: Side, q: number, k: number) =>
    maps && q < maps.side[side] ? maps.values[side][q * maps.side[side] + k]! : Number.NaN;
  for (let q = 0; maps && q < Math.max(maps.side.base, maps.side.tuned); q++) {
    for (let k = 0; k <= q; k++) {
      const place = [maps.layer, maps.head, q, state.text(q), k, state.text(k)];
      rows.push([...place, at("base", q, k), at("tuned", q, k)]);
    }
  }
  return [names, ...rows];
}

function where(state: State, [q, k]: [number, number]): string {
  return `${quote(state.text(q))} (${q}) to ${quote(state.text(k))} (${k})`;
}

function lines(maps: Maps, [q, k]: [number, number]): string[] {
  const [base, tuned] = SIDES.map((side) => maps.values[side][q * maps.side[side] + k]);
  const list = Object.entries({ base, tuned })
    .filter(([side]) => q < maps.side[side as Side])
    .map(([side, value]) => `${side} ${outOfOne(value!)}`);
  if (q < maps.side.third) list.push(`difference ${outOfOne(tuned! - base!, signed)}`);
  return list;
}

function label(
  box: HTMLElement,
  state: State,
  side: Side,
  range: readonly [number, number] | null,
  cell: number,
): void {
  box.hidden = range === null;
  const [from, to] = range ?? [0, 0];
  const names = Array.from({ length: Math.max(to - from, 0) }, (_, i) => {
    const style = `--at: ${(i + 0.5) * cell}px`;
    return h("bdi", { style }, tokenText(state.text(from + i, side)).word);
  });
  fill(box, ...names);
}
