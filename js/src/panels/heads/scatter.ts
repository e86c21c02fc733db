// Every head as a point: how its weights, its pattern and its effect changed; a Bokeh chart.

import type { Store } from "../../core/store.ts";
import { type BokehDocument, type BokehSource, embedChart, resize } from "../../draw/chart.ts";
import { h } from "../../draw/dom.ts";
import { attempt } from "../../shell/attempt.ts";
import type { View } from "../../shell/frame.ts";
import type { ShownHead } from "./data.ts";
import type { HeadView } from "./detail.ts";

/** Names the chart gives its parts, see `twinlens.charts`. */
const POINTS = "heads";
const FIGURES = ["pattern_figure", "effect_figure", "both_figure"];

interface Chart {
  document: BokehDocument;
  theme: string;
  scale: number;
  dispose(): void;
}

export function headScatter(store: Store, signal: AbortSignal): HeadView {
  const target = h("div", { class: "tl-chart tl-head-scatter" });
  let chart: Chart | null = null;
  let following = false;
  signal.addEventListener("abort", () => chart?.dispose());

  const embed = async (view: View, script: string, item: object): Promise<Chart> => {
    const theme = view.surface.palette.name;
    if (chart?.theme === theme) return chart;
    const made = await embedChart(script, item, target, view.signal);
    chart?.dispose();
    const here: Chart = { ...made, theme, scale: 1 };
    chart = here;
    const source = sourceOf(made.document);
    source?.selected.properties.indices.change.connect(() => {
      const [index] = source.selected.indices;
      if (following || index === undefined) return;
      store.select({ layer: source.data.layer![index]!, head: source.data.head![index]! });
    });
    return here;
  };
  const follow = ({ document, ...made }: Chart, view: View, { layer, head, chosen }: ShownHead) => {
    const source = sourceOf(document);
    if (!source) return;
    following = true;
    source.selected.indices = chosen ? indicesOf(source, layer, head) : [];
    following = false;
    Object.assign(target, { twinlens: { values: source.data, chosen: source.selected.indices } });
    const { scale } = view.surface;
    for (const name of FIGURES) resize(document, name, made.scale, scale);
    if (chart) chart.scale = scale;
  };

  return {
    name: "scatter",
    label: "Scatter",
    el: target,
    async load(view, shown) {
      const { name } = view.surface.palette;
      const [script, item] = await Promise.all([
        attempt(view, view.block<string>("asset/bokehjs")),
        attempt(view, view.block<object>(`chart/heads/${name}`)),
      ]);
      const reason = item.reason ?? script.reason;
      return {
        caption: reason
          ? `The scatter is not here: ${reason}`
          : "Every head is a point; click one to select it. A head whose weights moved far need not attend otherwise, and one that attends otherwise need not matter.",
        draw() {
          target.hidden = reason !== undefined;
          if (!script.value || !item.value) return;
          // Bokeh measures when it embeds: only now is its place to be seen.
          embed(view, script.value, item.value).then(
            (made) => view.signal.aborted || follow(made, view, shown),
            (error: unknown) => target.replaceChildren(String(error)),
          );
        },
      };
    },
  };
}

function sourceOf(document: BokehDocument): BokehSource | null {
  return document.get_model_by_name(POINTS) as BokehSource | null;
}

function indicesOf({ data }: BokehSource, layer: number, head: number): number[] {
  for (let i = 0; i < (data.layer?.length ?? 0); i++) {
    if (data.layer![i] === layer && data.head![i] === head) return [i];
  }
  return [];
}
