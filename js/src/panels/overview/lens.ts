// The logit lens of the whole answer in both models: layer by token, and where each is decided.

import { type BySide, keys, SIDES, type Side } from "../../contract/contract.ts";
import type { Tensor } from "../../contract/decode.ts";
import { required, take } from "../../core/load.ts";
import type { LensReader } from "../../core/options.ts";
import type { State } from "../../core/state.ts";
import { NOT_SAVED } from "../../core/state.ts";
import { fill, h, listen, picker, widthOf } from "../../draw/dom.ts";
import { number, quote, tokenText } from "../../draw/format.ts";
import { drawCells } from "../../draw/heatmap.ts";
import { ramp, rgb, sequential } from "../../draw/theme.ts";
import { tips } from "../../draw/tooltip.ts";
import { eachSide } from "../../maths/numbers.ts";
import type { Row, Setting } from "../../shell/frame.ts";
import type { View } from "./view.ts";

/** Nats from which a cell is empty. */
const FLOOR = -12;
/** Answers of more tokens stand one under the other. */
const BESIDE = 16;
/** Narrower columns have no names. */
const NAMED = 10;
const READERS: { value: LensReader; label: string }[] = [
  { value: "own", label: "own unembedding" },
  { value: "base", label: "base’s unembedding" },
  { value: "tuned", label: "tuned’s unembedding" },
];

interface Layout {
  width: number;
  height: number;
}

/** First layer from which a token stays the likeliest, 0 for the embedding; -1 if it is not. */
export function decidedAt({ shape, data }: Tensor, token: number): number {
  const [layers, tokens] = shape as [number, number];
  let first = -1;
  for (let layer = layers - 1; layer >= 0; layer--) {
    if (data[(layer * tokens + token) * 2 + 1] !== 1) break;
    first = layer;
  }
  return first;
}

export function lensView({ store, surface, tooltip, signal }: Setting): View {
  const canvases = eachSide((side) => h("canvas", { "data-lens": side, role: "img" }));
  const names = eachSide(() => h("div", { class: "tl-lens-tokens", "aria-hidden": "true" }));
  const rows = eachSide(() =>
    h("div", { class: "tl-lens-layers tl-quiet", "aria-hidden": "true" }),
  );
  const pictures = SIDES.map((side) =>
    h(
      "figure",
      { class: "tl-lens-picture" },
      h("figcaption", { "data-side": side }, side),
      rows[side],
      canvases[side],
      names[side],
    ),
  );
  const plot = h("div", { class: "tl-flow tl-lens-plot" }, ...pictures);
  const scale = h("span", { class: "tl-scale tl-quiet" });
  const reader = picker<LensReader>("Unembedding that reads the layers", signal, (lensReader) =>
    store.setOptions("overview", { lensReader }),
  );
  const el = h("div", { class: "tl-lens" }, plot, scale, reader.el);
  const room = widthOf(el, signal);
  let drawn: { tables: BySide<Tensor>; layout: Layout } | null = null;

  const cellAt = (target: HTMLElement, x: number, y: number) => {
    const canvas = target.closest<HTMLElement>("canvas[data-lens]");
    if (!canvas || !drawn) return null;
    const { layout, tables } = drawn;
    const side = canvas.dataset.lens as Side;
    const box = canvas.getBoundingClientRect();
    const at = Math.floor((x - box.left) / layout.width);
    const [depth, tokens] = tables[side].shape as [number, number];
    const layer = depth - 1 - Math.floor((y - box.top) / layout.height);
    return at >= 0 && at < tokens && layer >= 0 && layer < depth ? { side, at, layer } : null;
  };
  listen(plot, "click", { signal }, (event) => {
    const cell = cellAt(event.target as HTMLElement, event.clientX, event.clientY);
    if (cell) store.select({ token: store.promptLength + cell.at, layer: cell.layer - 1 });
  });
  tips(plot, tooltip, signal, (target, x, y) => {
    const cell = cellAt(target, x, y);
    return cell && drawn ? tipOf(store, drawn.tables[cell.side], cell) : null;
  });

  return {
    name: "lens",
    label: "Lens",
    el,
    needs: (state) => (missing(state) ? [] : required(...Object.values(tableKeys(state)))),
    picture(state, got) {
      const title = "Where each answer token is decided";
      const caption = missing(state);
      if (caption) {
        return { title, caption, draw: () => el.classList.add("tl-gone") };
      }
      const wanted = tableKeys(state);
      const tables = eachSide((side) => take(got(wanted[side])));
      const { token, layer } = state.selection;
      const { lensReader } = state.options.overview;
      return {
        title,
        caption: "Stronger colour: the token is likelier if the model stopped at that layer.",
        how: captionOf(state, tables),
        table: () => lensTable(state, tables),
        draw() {
          el.classList.remove("tl-gone");
          reader.update(readersOf(state), lensReader);
          const layout = layoutOf(tables.base, tables.tuned.shape[1]!, room());
          drawn = { tables, layout };
          for (const side of SIDES) {
            const at = token - state.promptLength;
            paint(canvases[side], tables[side], layout, side, at, layer + 1);
            canvases[side].setAttribute("aria-label", spoken(state, side, tables[side]));
            fill(rows[side], ...layerNames(tables[side].shape[0]!, layout.height));
            fill(names[side], ...tokenNames(state, side, layout.width));
          }
          const ramps = SIDES.map((side) => ramp(sequential(surface.palette, side)));
          fill(scale, `${FLOOR} nats or less`.replace("-", "−"), ...ramps, "0");
          Object.assign(el, { twinlens: { values: eachSide((side) => tables[side].data) } });
        },
      };
    },
  };

  function paint(
    canvas: HTMLCanvasElement,
    table: Tensor,
    { width, height }: Layout,
    side: Side,
    token: number,
    layer: number,
  ): void {
    const [depth, tokens] = table.shape as [number, number];
    // The last layer stands at the top.
    const values = Float32Array.from({ length: depth * tokens }, (_, i) => {
      const from = depth - 1 - Math.floor(i / tokens);
      return Math.max(1 - table.data[(from * tokens + (i % tokens)) * 2]! / FLOOR, 0);
    });
    const cells = {
      ...{ rows: depth, columns: tokens, values, max: 1, width, height, gap: width > 4 ? 1 : 0 },
      colour: sequential(surface.palette, side),
      absent: rgb(surface.palette.neutral),
      ...{ hatched: () => false, dotted: () => false },
      ink: surface.palette.ink,
    };
    const { ink } = surface.palette;
    drawCells(canvas, cells, (drawing) => {
      drawing.fillStyle = ink;
      for (let m = 0; m < tokens; m++) {
        const first = decidedAt(table, m);
        if (first >= 0) drawing.fillRect(m * width, (depth - first) * height - 2, width, 2);
      }
      drawing.strokeStyle = ink;
      const [w, t] = [tokens * width, depth * height];
      if (token >= 0) drawing.strokeRect(token * width + 0.5, 0.5, width - 1, t - 1);
      if (layer > 0) drawing.strokeRect(0.5, (depth - 1 - layer) * height + 0.5, w - 1, height - 1);
    });
  }
}

/** Layer by token, for a file. */
function lensTable(state: State, tables: BySide<Tensor>): Row[] {
  const rows = SIDES.flatMap((side) => {
    const { shape, data } = tables[side];
    const [, tokens] = shape as [number, number];
    return Array.from({ length: data.length / 2 }, (_, i) => {
      const [layer, m] = [Math.floor(i / tokens) - 1, i % tokens];
      const text = state.text(state.promptLength + m, side);
      return [side, layer, m, text, data[2 * i]!, data[2 * i + 1]!];
    });
  });
  return [["side", "layer", "answer_token", "answer", "nats", "rank"], ...rows];
}

function tableKeys(state: State) {
  const { lensReader } = state.options.overview;
  return eachSide((side) => keys.lensTable(side, lensReader === "own" ? side : lensReader));
}

/** Readers whose tables can be had. */
function readersOf(state: State) {
  const has = (value: LensReader) =>
    SIDES.every((side) => state.has(keys.lensTable(side, value === "own" ? side : value)));
  return READERS.filter(({ value }) => value === "own" || state.live || has(value));
}

/** Why there is nothing to show; empty where there is. */
function missing(state: State): string {
  if (SIDES.some((side) => state.answer(side).tokens.length === 0)) {
    return "There is no answer to explain.";
  }
  const wanted = Object.values(tableKeys(state));
  return state.live || wanted.every((key) => state.has(key)) ? "" : NOT_SAVED;
}

function layoutOf(table: Tensor, ofTuned: number, room: number): Layout {
  const [depth, ofBase] = table.shape as [number, number];
  const tokens = Math.max(ofBase, ofTuned);
  const free = Math.max(room, 240) / (tokens > BESIDE ? 1 : 2) - 36;
  return {
    width: Math.min(Math.max(Math.floor(free / tokens), 3), 26),
    height: Math.min(Math.max(Math.floor(200 / depth), 5), 22),
  };
}

function layerNames(depth: number, height: number): HTMLElement[] {
  const step = Math.ceil(14 / height);
  return Array.from({ length: depth }, (_, i) => {
    const layer = depth - 2 - i;
    const named = layer < 0 || (depth - 2 - layer) % step === 0;
    const style = `height: ${height}px; line-height: ${height}px`;
    return h("span", { style }, named ? (layer < 0 ? "in" : String(layer)) : "");
  });
}

function tokenNames(state: State, side: Side, width: number): HTMLElement[] {
  if (width < NAMED) return [];
  const style = `width: ${width}px`;
  return state.answer(side).tokens.map(({ text }) => h("bdi", { style }, tokenText(text).word));
}

function tipOf(
  state: State,
  table: Tensor,
  { side, at, layer }: { side: Side; at: number; layer: number },
) {
  const place = (layer * table.shape[1]! + at) * 2;
  const first = decidedAt(table, at);
  return {
    title: `${state.text(state.promptLength + at, side)} in ${side}`,
    lines: [
      `${layerName(layer)}: ${number(table.data[place]!)} nats, rank ${table.data[place + 1]}`,
      first < 0 ? "not the likeliest at the end" : `stays the likeliest from ${layerName(first)}`,
    ],
  };
}

function layerName(row: number): string {
  return row === 0 ? "embedding" : `layer ${row - 1}`;
}

function captionOf(state: State, tables: BySide<Tensor>): string {
  const { token } = state.selection;
  const at = token - state.promptLength;
  const what = "How likely each token is if the residual stream is read after a layer (logit lens)";
  const line = "The line: from there up it stays the likeliest";
  if (at < 0) {
    const said = SIDES.map((side) => {
      const { length } = state.answer(side).tokens;
      const all = Array.from({ length }, (_, m) => decidedAt(tables[side], m));
      return `${all.filter((first) => first >= 0).length} of ${all.length} in ${side}`;
    });
    return `${what}. ${line}: ${said.join(", ")}.`;
  }
  const said = SIDES.filter((side) => at < tables[side].shape[1]!).map((side) => {
    const first = decidedAt(tables[side], at);
    return first < 0 ? `never in ${side}` : `from ${layerName(first)} in ${side}`;
  });
  return `${what}. ${line}: ${quote(state.text(token))} ${said.join(", ")}.`;
}

function spoken(state: State, side: Side, table: Tensor): string {
  const tokens = state.answer(side).tokens.map(({ text }, m) => {
    const first = decidedAt(table, m);
    return `${tokenText(text).word} ${first < 0 ? "never" : `from ${layerName(first)}`}`;
  });
  return `${side}, layer by token; the likeliest: ${tokens.join(", ")}`;
}
