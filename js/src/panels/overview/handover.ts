// Lower layers of one model under the upper layers of the other: a Bokeh chart filled from blocks.

import { keys, SIDES, type Side } from "../../contract/contract.ts";
import type { Tensor } from "../../contract/decode.ts";
import { quiet, required, take } from "../../core/load.ts";
import type { State } from "../../core/state.ts";
import { lacksAnswer, NOT_SAVED } from "../../core/state.ts";
import { bokehChart } from "../../draw/chart.ts";
import { count, quote } from "../../draw/format.ts";
import { eachSide, inRows } from "../../maths/numbers.ts";
import type { Setting } from "../../shell/frame.ts";
import type { View } from "./view.ts";

/** Log-probability and KL by the number of lower layers. */
interface Curve {
  logprob: number[];
  kl: number[];
}

export function handoverView(setting: Setting): View {
  const chart = bokehChart({ chart: "handover", figures: ["handover_figure"], taps: [] }, setting);
  return {
    name: "handover",
    label: "Hand-over",
    el: chart.el,
    needs: (state) =>
      missing(state)
        ? []
        : [...required(...SIDES.map((side) => keys.handover(side))), ...quiet(...chart.keys())],
    picture(state, got) {
      const title = "Layers handed over";
      const caption = missing(state);
      if (caption) {
        return { title, caption, draw: () => chart.el.classList.add("tl-gone") };
      }
      const at = state.selection.token - state.promptLength;
      // By the model that is above, as the chart calls them.
      const lower = { base: "tuned", tuned: "base" } as const;
      const curves = eachSide((side) => curveOf(take(got(keys.handover(lower[side]))), at));
      const columns = {
        layer: curves.base.logprob.map((_, l) => l),
        tuned: curves.tuned.logprob,
        base: curves.base.logprob,
        tuned_kl: curves.tuned.kl,
        base_kl: curves.base.kl,
      };
      return {
        title,
        note: "measured",
        caption: "How many of its lowest layers a model needs from the other to answer like it.",
        table: () => inRows(columns),
        how: sentence(at < 0 ? "the answer" : quote(state.text(state.selection.token)), curves),
        draw() {
          Object.assign(chart.el, { twinlens: { values: columns } });
          chart.el.classList.toggle("tl-gone", chart.missing(got) !== undefined);
          if (chart.missing(got) !== undefined) return;
          return chart.draw(got, (parts) => parts.fill("handover", columns));
        },
      };
    },
  };
}

/** Why there is nothing to show; empty where there is. */
function missing(state: State): string {
  const why = lacksAnswer(state, "layers can be handed over");
  const held = state.live || SIDES.every((side) => state.has(keys.handover(side)));
  return why || state.lacks(keys.handover("tuned")) || (held ? "" : NOT_SAVED);
}

/** Of one answer token, or summed over the answer. */
function curveOf({ shape, data }: Tensor, at: number): Curve {
  const [depth, tokens] = shape as [number, number];
  const summed = (layer: number, what: 0 | 1) => {
    let sum = 0;
    for (let m = 0; m < tokens; m++) {
      if (at < 0 || m === at) sum += data[(layer * tokens + m) * 2 + what]!;
    }
    return sum;
  };
  const layers = Array.from({ length: depth }, (_, layer) => layer);
  return { logprob: layers.map((l) => summed(l, 0)), kl: layers.map((l) => summed(l, 1)) };
}

/** Nats from which half of a difference is worth a word. */
const APART = 0.2;

function sentence(whose: string, { base, tuned }: Record<Side, Curve>): string {
  const what = `Log-probability of ${whose} with the lowest layers (and the embedding) of one model under the rest of the other`;
  const [from, to] = [base.logprob[0]!, tuned.logprob[0]!];
  const half = (from + to) / 2;
  if (to - from < APART) return `${what}.`;
  const gained = base.logprob.findIndex((value) => value >= half);
  const lost = tuned.logprob.findIndex((value) => value <= half);
  const layers = (n: number) => (n < 0 ? "not even on all layers" : `on ${count(n, "layer")}`);
  return `${what}: base comes half the way to tuned ${layers(gained)} of tuned, and tuned falls half the way to base ${layers(lost)} of base.`;
}
