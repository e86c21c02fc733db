// How far the models are apart, layer by layer: a Bokeh chart filled from blocks.

import type { BySide, Lens } from "../../contract/contract.ts";
import type { Tensor } from "../../contract/decode.ts";
import type { Store } from "../../core/store.ts";
import {
  type BokehDocument,
  embedChart,
  fillSource,
  resize,
  selectLayerOnTap,
} from "../../draw/chart.ts";
import { h } from "../../draw/dom.ts";
import { quote } from "../../draw/format.ts";
import { bySide, meanRows, type Numbers, row } from "../../maths/numbers.ts";
import type { MakePanel, View } from "../../shell/frame.ts";

interface Depth {
  shift: Record<"attention" | "feed_forward" | "residual", number[]>;
  /** Whether the shift is that of the selected position, not the mean. */
  here: boolean;
  lens: BySide<Lens | null> | null;
}

export const overviewPanel: MakePanel = ({ store, signal }) => {
  const target = h("div", { class: "tl-chart" });
  let chart: { document: BokehDocument; theme: string; scale: number; dispose(): void } | null =
    null;
  signal.addEventListener("abort", () => chart?.dispose());

  const ready = async (view: View): Promise<BokehDocument> => {
    const theme = view.surface.palette.name;
    if (chart?.theme === theme) return chart.document;
    const [script, item] = await Promise.all([
      view.block<string>("asset/bokehjs"),
      view.block<object>(`chart/overview/${theme}`),
    ]);
    const made = await embedChart(script, item, target, view.signal);
    chart?.dispose();
    chart = { ...made, theme, scale: 1 };
    for (const name of ["shift", "lens"]) selectLayerOnTap(made.document, name, store);
    return made.document;
  };

  return {
    label: "Overview: how far the models are apart by layer",
    controls: [],
    body: h("div", { class: "tl-body" }, target),
    async load(view) {
      const [document, depth] = await Promise.all([ready(view), loadDepth(view)]);
      // Bokeh takes longest to draw: the other panels go first.
      await new Promise((resolve) => setTimeout(resolve));
      return {
        ...words(store, depth),
        draw() {
          fill(document, store, depth, target);
          const { scale } = view.surface;
          if (!chart || chart.scale === scale) return;
          for (const name of ["shift_figure", "lens_figure"]) {
            resize(document, name, chart.scale, scale);
          }
          chart.scale = scale;
        },
      };
    },
  };
};

async function loadDepth(view: View): Promise<Depth> {
  const { store } = view;
  const { token } = store.selection;
  const here = store.reading >= 0 && store.reading < store.commonLength;
  const layersOf = async (name: string) => {
    const tensor = await view.block<Tensor>(`shift/${name}`);
    const width = tensor.shape[1]!;
    return Array.from(
      here ? row(tensor, store.reading) : meanRows(tensor.data, width, 0, tensor.shape[0]!),
    );
  };
  const lensOf = async (side: "base" | "tuned") => {
    if (token >= store.length(side)) return null;
    return view.block<Lens>(`lens/${side}/${token}`);
  };
  const [attention, feed_forward, residual, lens] = await Promise.all([
    layersOf("attention"),
    layersOf("feed_forward"),
    layersOf("residual"),
    token < 0 ? null : view.optional(bySide(lensOf), token < store.promptLength),
  ]);
  // The residual stream has one entry more: the embedding, before the first layer.
  return { shift: { attention, feed_forward, residual: residual.slice(1) }, here, lens };
}

function fill(document: BokehDocument, store: Store, depth: Depth, target: HTMLElement): void {
  const { layer } = store.selection;
  const { shift, lens } = depth;
  fillSource(document, "shift", { layer: shift.attention.map((_, i) => i), ...shift });
  const curves: Record<string, Numbers> = { layer: [], base: [], tuned: [] };
  const figure = document.get_model_by_name("lens_figure");
  if (lens) {
    const depth = Math.max(lens.base?.layers.length ?? 0, lens.tuned?.layers.length ?? 0);
    const curve = (one: Lens | null) =>
      Array.from({ length: depth }, (_, i) => one?.layers[i]?.logprob ?? Number.NaN);
    curves.layer = Array.from({ length: depth }, (_, i) => i - 1);
    curves.base = curve(lens.base);
    curves.tuned = curve(lens.tuned);
    fillSource(document, "lens", curves);
  }
  if (figure) figure.visible = lens !== null;
  fillSource(document, "marker", { layer: layer < 0 ? [] : [layer] });
  Object.assign(target, { twinlens: { values: { ...shift, lens: curves } } });
}

function words(store: Store, { here, lens }: Depth): { title: string; caption: string } {
  const { token } = store.selection;
  const shift = "Length of tuned − base relative to their own, for what each layer computes";
  const where = here
    ? `at ${quote(store.text(token))}`
    : "averaged over the tokens both models read";
  if (!lens) {
    return {
      title: "How far the models are apart, by layer",
      caption: `${shift}, ${where}. It says how much changed, not what for.`,
    };
  }
  return {
    title: `How ${quote(store.text(token))} builds up, by layer`,
    caption: `${shift}, ${where}. Below: the logit lens, the token's log-probability if read after each layer (−1: embedding).`,
  };
}
