// Every head as a point: how its weights, its pattern and its effect changed; a Bokeh chart.

import { quiet } from "../../core/load.ts";
import { bokehChart, type ChartParts } from "../../draw/chart.ts";
import { inRows } from "../../maths/numbers.ts";
import type { Setting } from "../../shell/frame.ts";
import type { ShownHead } from "./data.ts";
import type { HeadView } from "./detail.ts";

/** Source of the points, as the chart names it. */
const POINTS = "heads";

export function headScatter(setting: Setting): HeadView {
  const chart = bokehChart(
    {
      chart: "heads",
      figures: ["pattern_figure", "effect_figure", "both_figure"],
      taps: [POINTS],
    },
    setting,
    "tl-flow tl-head-scatter",
  );
  const { el } = chart;
  let drawn: Record<string, ArrayLike<number>> = {};
  const follow = (parts: ChartParts, { layer, head, chosen }: ShownHead) => {
    const values = parts.data(POINTS);
    const indices = chosen ? indicesOf(values, layer, head) : [];
    drawn = values;
    parts.choose(POINTS, indices);
    Object.assign(el, { twinlens: { values, chosen: indices } });
  };
  return {
    name: "scatter",
    label: "Scatter",
    el,
    needs: () => quiet(...chart.keys()),
    picture(_, got, shown) {
      const reason = chart.missing(got);
      return {
        caption: reason
          ? `The scatter is not here: ${reason}`
          : "Every head is a point; click one to select it. A head whose weights moved far need not attend otherwise, and one that attends otherwise need not matter.",
        table: () => inRows(drawn),
        async draw() {
          el.hidden = reason !== undefined;
          if (reason !== undefined) return;
          // Bokeh measures when it embeds: only now is its place to be seen.
          await chart
            .draw(got, (parts) => follow(parts, shown))
            .catch((error: unknown) => el.replaceChildren(String(error)));
        },
      };
    },
  };
}

function indicesOf(
  { layer: layers, head: heads }: Record<string, ArrayLike<number>>,
  layer: number,
  head: number,
): number[] {
  const all = Array.from({ length: layers?.length ?? 0 }, (_, i) => i);
  return all.filter((i) => layers![i] === layer && heads?.[i] === head);
}
