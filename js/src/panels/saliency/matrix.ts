// The matrix of prompt by answer: base, tuned, tuned - base, on one scale.

import { SIDES, type Side } from "../../contract/contract.ts";
import type { State } from "../../core/state.ts";
import { boxStyle, button, fill, h, listen, measured, taken } from "../../draw/dom.ts";
import { count, number } from "../../draw/format.ts";
import { drawCells } from "../../draw/heatmap.ts";
import { diverging, ramp, rgb, sequential } from "../../draw/theme.ts";
import { tips } from "../../draw/tooltip.ts";
import { marksOf } from "../../maths/marks.ts";
import { memo } from "../../maths/memo.ts";
import type { Setting } from "../../shell/frame.ts";
import type { Matrix, MatrixOf } from "./matrix_data.ts";
import { axisLabels, type Layout, layoutOf, type Room } from "./matrix_layout.ts";
import { cellText, cellTip } from "./sentences.ts";

type Name = Side | "third";
const NAMES: readonly Name[] = [...SIDES, "third"];
const TITLES: Record<Name, string> = { base: "base", tuned: "tuned", third: "tuned − base" };

/** A cell by its answer token and its column. */
type Cell = { m: number; k: number };

export function matrixView({ store, surface, tooltip, signal }: Setting) {
  const pictures = NAMES.map(picture);
  const area = h(
    "div",
    {
      class: "tl-matrix",
      tabindex: 0,
      role: "application",
      "aria-roledescription": "matrix of prompt by answer",
    },
    ...pictures.map(({ el }) => el),
  );
  const said = h("span", { class: "tl-matrix-cell", role: "status" });
  const template = button(
    "",
    () => {
      const { hideTemplate } = store.options.saliency;
      store.setOptions("saliency", { hideTemplate: !hideTemplate });
    },
    signal,
  );
  const key = h(
    "span",
    { class: "tl-matrix-key" },
    h("i", { class: "tl-bracket", "data-segment": "instruction" }),
    "instruction ",
    h("i", { class: "tl-bracket", "data-segment": "context" }),
    "context",
  );
  const el = h(
    "div",
    {},
    area,
    h("div", { class: "tl-flow tl-matrix-foot tl-aside" }, template, key, said),
  );
  let drawn: { matrix: Matrix; layout: Layout; unit: string } | null = null;
  const room = measured(
    () => [area, area.closest(".tl-slot") ?? area],
    signal,
    () => roomOf(area),
  );

  const cellAt = (target: HTMLElement, x: number, y: number): (Cell & { name: Name }) | null => {
    const canvas = target.closest<HTMLCanvasElement>("canvas[data-matrix]");
    if (!canvas || !drawn) return null;
    const name = canvas.dataset.matrix as Name;
    const box = canvas.getBoundingClientRect();
    const m = Math.floor((y - box.top) / drawn.layout.height);
    const k = Math.floor((x - box.left) / drawn.layout.width);
    const inside = m >= 0 && k >= 0 && m < rowsOf(drawn.matrix, name);
    return inside && k < drawn.matrix.columns.length ? { m, k, name } : null;
  };
  const select = ({ m, k }: Cell, toggle: boolean) => {
    const token = store.promptLength + m;
    const prompt = drawn!.matrix.columns[k]!;
    const again = toggle && store.selection.token === token && store.column === prompt;
    store.setOptions("saliency", { span: null, cell: again ? null : { token, prompt } });
    store.select({ token: again ? -1 : token });
  };
  const selectToken = (token: number) => {
    const again = store.selection.token === token && store.column < 0;
    store.setOptions("saliency", { span: null, cell: null });
    store.select({ token: again ? -1 : token });
  };
  listen(area, "click", { signal }, (event) => {
    const target = event.target as HTMLElement;
    const label = target.closest<HTMLElement>("[data-position]");
    if (label) return selectToken(Number(label.dataset.position));
    const cell = cellAt(target, event.clientX, event.clientY);
    if (cell) select(cell, true);
  });
  listen(area, "keydown", { signal }, (event) => {
    const step = STEPS[event.key];
    if (!step || !drawn || event.altKey || event.ctrlKey || event.metaKey) return;
    taken(event);
    const { columns } = drawn.matrix;
    const rows = Math.max(...NAMES.map((name) => rowsOf(drawn!.matrix, name)));
    const now = chosen(store, drawn.matrix);
    const begun = now.m >= 0 && now.k >= 0;
    const m = begun ? now.m + step[0] : Math.max(now.m, 0);
    const k = begun ? now.k + step[1] : Math.max(now.k, 0);
    const clamp = (at: number, length: number) => Math.min(Math.max(at, 0), length - 1);
    select({ m: clamp(m, rows), k: clamp(k, columns.length) }, false);
  });
  const hover = (cell: Cell | null) => {
    for (const { rows, columns } of pictures) {
      rows.point(cell?.m);
      columns.point(cell?.k);
    }
  };
  tips(area, tooltip, signal, (target, x, y) => {
    const cell = cellAt(target, x, y);
    hover(cell);
    if (!cell || !drawn) return null;
    return cellTip(store, drawn.matrix, cell.m, cell.k, drawn.unit);
  });
  listen(area, "pointerleave", { signal }, () => hover(null));

  const stable = memo<void>();
  const drawAll = (state: State, matrix: Matrix, room: Room, unit: string) => {
    const { palette, scale } = surface;
    const { columns, max, difference } = matrix;
    const layout = layoutOf(state, matrix, room, scale);
    drawn = { matrix, layout, unit };
    area.dataset.stacked = String(layout.stacked);
    for (const { name, ...parts } of pictures) {
      const cells = cellsOf(matrix, name);
      parts.el.hidden = cells === null;
      if (!cells) continue;
      const colour = name === "third" ? diverging(palette) : sequential(palette, name);
      const gap = layout.width >= 12 ? 1.5 : layout.width >= 6 ? 1 : 0;
      drawCells(parts.canvas, {
        rows: cells.rows,
        columns: columns.length,
        values: cells.values,
        max,
        width: layout.width,
        height: layout.height,
        gap,
        colour,
        absent: rgb(palette.absent),
        hatched: (i) => !cells.exact[i],
        dotted: () => false,
        ink: palette.ink,
      });
      const two = name === "third";
      const most = two ? `±${number(max)}` : `${number(max)}${unit}`;
      fill(parts.scale, two ? "" : "0", ramp(colour, two ? -1 : 0), most);
      const named = name === "base" || layout.stacked || !state.manifest.shared;
      parts.rows.el.hidden = !named;
      parts.rows.el.style.cssText = `width: ${layout.gutter}px; height: ${cells.rows * layout.height}px`;
      const tokens = state.answer(name === "third" ? "tuned" : name).tokens;
      parts.rows.draw({
        positions: tokens.map((_, m) => state.promptLength + m),
        texts: tokens.map(({ text }) => text),
        size: layout.height,
        every: layout.everyRow,
      });
      parts.columns.el.style.height = `${layout.slope}px`;
      parts.columns.draw({
        positions: columns,
        texts: columns.map((n) => state.text(n)),
        size: layout.width,
        every: layout.everyColumn,
      });
      drawBrackets(parts.brackets, state, columns, layout.width);
      parts.frame.style.width = `${columns.length * layout.width}px`;
    }
    const third = difference?.values ?? [];
    const { base, tuned } = matrix.sides;
    const values = { base: base?.values ?? [], tuned: tuned?.values ?? [], third };
    Object.assign(area, { twinlens: { values, columns } });
  };
  const draw = (state: State, matrix: Matrix | null, unit: string) => {
    el.hidden = matrix === null;
    if (!matrix) return;
    const free = room();
    stable([matrix, free, unit, surface.palette, surface.scale], () =>
      drawAll(state, matrix, free, unit),
    );
    const { columns, hidden } = matrix;
    const cell = chosen(state, matrix);
    for (const { name, rows, columns: named, cursor } of pictures) {
      const cells = cellsOf(matrix, name);
      if (!cells) continue;
      rows.choose(cell.m);
      named.choose(cell.k);
      outline(cursor, cell, drawn!.layout, cells.rows, columns.length);
    }
    const words = cell.m >= 0 && cell.k >= 0 ? cellText(state, matrix, cell.m, cell.k, unit) : "";
    said.textContent = words;
    area.setAttribute(
      "aria-label",
      `Effects, ${count(columns.length, "prompt token")} by answer; ${words || "arrow keys choose a cell"}`,
    );
    const { hideTemplate } = state.options.saliency;
    template.hidden = hideTemplate && hidden.count === 0;
    template.textContent = hideTemplate
      ? `show ${count(hidden.count, "template token")} (up to ${number(hidden.largest)}${unit})`
      : "collapse template tokens";
    key.hidden = state.marked("instruction", "context").length === 0;
  };
  return { el, draw };
}

/** From the top of the matrix to the end of the pane that it stands in. */
function roomOf(area: HTMLElement): Room {
  const width = area.clientWidth || 640;
  const pane = area.closest<HTMLElement>("[data-layout]:not([data-layout=grid]) > .tl-slot");
  if (!pane) return { width, height: null };
  const above = area.getBoundingClientRect().top - pane.getBoundingClientRect().top;
  return { width, height: pane.clientHeight - above - pane.scrollTop };
}

const STEPS: Record<string, [number, number]> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  Home: [0, Number.NEGATIVE_INFINITY],
  End: [0, Number.POSITIVE_INFINITY],
};

function picture(name: Name) {
  const canvas = h("canvas", { width: 0, height: 0, "data-matrix": name, "aria-hidden": "true" });
  const cursor = h("i", { class: "tl-cursor", hidden: true });
  const brackets = h("div", { class: "tl-brackets" });
  const columns = axisLabels("tl-matrix-columns", true);
  const rows = axisLabels("tl-matrix-rows", false);
  rows.el.dataset.shared = "";
  const scale = h("span", { class: "tl-scale tl-quiet" });
  const frame = h(
    "div",
    { class: "tl-matrix-frame" },
    h("div", { class: "tl-frame" }, canvas, cursor),
    brackets,
    columns.el,
  );
  const side = name === "third" ? null : name;
  const title = h("b", { class: side && "tl-side", "data-side": side }, TITLES[name]);
  const el = h(
    "figure",
    { class: "tl-matrix-picture", "aria-label": TITLES[name] },
    rows.el,
    h("div", {}, h("figcaption", { class: "tl-matrix-title" }, title, scale), frame),
  );
  return { name, canvas, cursor, brackets, columns, rows, scale, frame, el };
}

function cellsOf({ difference, sides }: Matrix, name: Name): MatrixOf | null {
  return name === "third" ? difference : sides[name];
}

function rowsOf(matrix: Matrix, name: Name): number {
  return cellsOf(matrix, name)?.rows ?? 0;
}

/** Row and column of what is selected; -1 where nothing is, or what has no row or column. */
function chosen(state: State, { columns }: Matrix): Cell {
  const { token } = state.selection;
  const n = state.promptLength;
  const column = token >= 0 && token < n ? token : state.column;
  return { m: token >= n ? token - n : -1, k: columns.indexOf(column) };
}

/** Around the row, the column or the cell. */
function outline(
  cursor: HTMLElement,
  { m, k }: Cell,
  { width, height }: Layout,
  rows: number,
  columns: number,
): void {
  cursor.hidden = (m < 0 && k < 0) || m >= rows;
  cursor.style.cssText = boxStyle(
    Math.max(k, 0) * width - 2,
    Math.max(m, 0) * height - 2,
    (k < 0 ? columns : 1) * width + 3,
    (m < 0 ? rows : 1) * height + 3,
  );
}

/** A line under the columns of the instruction, and one under those of the context. */
function drawBrackets(
  el: HTMLElement,
  state: State,
  columns: readonly number[],
  width: number,
): void {
  const runs = marksOf(columns.map((n) => state.segments[n]!));
  const lines = runs.map(([from, to, segment]) => {
    const style = `left: ${from * width}px; width: ${(to - from) * width - 2}px`;
    return h("i", { class: "tl-bracket", "data-segment": segment, title: segment, style });
  });
  fill(el, ...lines);
}
