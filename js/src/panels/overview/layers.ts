// How far the models are apart, layer by layer.

import {
  type BySide,
  type Key,
  keys,
  type Lens,
  SIDES,
  type Side,
  shifts,
} from "../../contract/contract.ts";
import { type Got, type Need, optional, quiet, required, take } from "../../core/load.ts";
import type { State } from "../../core/state.ts";
import { h } from "../../draw/dom.ts";
import { quote } from "../../draw/format.ts";
import { layerChart } from "../../draw/layer_chart.ts";
import { inRows, meanRows, row } from "../../maths/numbers.ts";
import type { Picture, Row, Setting } from "../../shell/frame.ts";
import type { View } from "./view.ts";

const PARTS = ["attention", "feed_forward", "residual"] as const;

interface Depth {
  shift: Record<(typeof PARTS)[number], number[]>;
  /** Whether the shift is that of the selected position, not the mean. */
  atPosition: boolean;
  lens: BySide<Lens | null> | null;
}

export function layersView(setting: Setting): View {
  const { store, surface, tooltip, signal } = setting;
  const select = (layer: number) => store.select({ layer });
  const shiftChart = layerChart(
    {
      label: "relative difference",
      series: [
        { name: "attention", label: "attention", mark: "circle" },
        { name: "feed_forward", label: "feed-forward", mark: "square" },
        { name: "residual", label: "residual", mark: "triangle" },
      ],
      height: 206,
      tell: (value) => value.toFixed(4),
    },
    tooltip,
    signal,
    select,
  );
  const lensChart = layerChart(
    {
      label: "log-probability, nats",
      series: [
        { name: "tuned", label: "tuned", mark: "square" },
        { name: "base", label: "base", mark: "circle", dashed: true },
      ],
      height: 186,
      // Early layers know nothing of the answer, some to hundreds of nats.
      range: [-12, 0.5],
      tell: (value) => `${value.toFixed(3)} nats`,
    },
    tooltip,
    signal,
    select,
  );
  const el = h("div", { class: "tl-chart" }, shiftChart.el, lensChart.el);
  return {
    name: "layers",
    label: "Layers",
    el,
    needs: (state) => [...required(...PARTS.map((part) => shifts[part]())), ...lensNeeds(state)],
    picture(state, got) {
      const depth = depthOf(state, got);
      const { layer } = state.selection;
      return {
        ...words(state, depth),
        table: () => layerTable(depth),
        draw() {
          shiftChart.draw({ first: 0, values: depth.shift, layer }, surface.scale);
          const curves = depth.lens && curvesOf(depth.lens);
          lensChart.draw(curves && { first: -1, values: curves, layer }, surface.scale);
          const { length } = curves?.base ?? [];
          const layers = Array.from({ length }, (_, i) => i - 1);
          const seen = { layer: layers, base: [], tuned: [], ...curves };
          Object.assign(el, { twinlens: { values: { ...depth.shift, lens: seen } } });
        },
      };
    },
  };
}

/** Keys of the logit lens at the selected token, of the sides that have it. */
function lensKeys(state: State): Partial<BySide<Key<Lens>>> {
  const { token } = state.selection;
  const sides = SIDES.filter((side) => token >= 0 && token < state.length(side));
  return Object.fromEntries(sides.map((side) => [side, keys.lens(side, token)]));
}

function lensNeeds(state: State): Need[] {
  // Recordings hold it for answer tokens only.
  const inPrompt = state.selection.token < state.promptLength;
  return (inPrompt ? quiet : optional)(...Object.values(lensKeys(state)));
}

function depthOf(state: State, got: Got): Depth {
  const atPosition = state.reading >= 0 && state.reading < state.commonLength;
  const layersOf = (part: (typeof PARTS)[number]) => {
    const tensor = take(got(shifts[part]()));
    const [length, width] = tensor.shape as [number, number];
    return Array.from(
      atPosition ? row(tensor, state.reading) : meanRows(tensor.data, width, 0, length),
    );
  };
  const { base, tuned } = lensKeys(state);
  const lens = {
    base: (base && got(base).value) ?? null,
    tuned: (tuned && got(tuned).value) ?? null,
  };
  const whole = (!base || lens.base) && (!tuned || lens.tuned) && (base || tuned);
  return {
    shift: {
      attention: layersOf("attention"),
      feed_forward: layersOf("feed_forward"),
      // The residual stream has one entry more: the embedding, before the first layer.
      residual: layersOf("residual").slice(1),
    },
    atPosition,
    lens: whole ? lens : null,
  };
}

/** Log-probability after the embedding and after each layer. */
function curvesOf(lens: BySide<Lens | null>): BySide<number[]> {
  const length = Math.max(...SIDES.map((side) => lens[side]?.layers.length ?? 0));
  const curve = (side: Side) =>
    Array.from({ length }, (_, i) => lens[side]?.layers[i]?.logprob ?? Number.NaN);
  return { base: curve("base"), tuned: curve("tuned") };
}

/** Layer by layer, for a file; the lens begins with the embedding. */
function layerTable({ shift, lens }: Depth): Row[] {
  const at = (side: Side, layer: number) => lens?.[side]?.layers[layer + 1]?.logprob ?? Number.NaN;
  const layers = shift.attention.map((_, layer) => layer);
  return inRows({
    layer: layers,
    ...shift,
    ...(lens && { lens_base: layers.map((layer) => at("base", layer)) }),
    ...(lens && { lens_tuned: layers.map((layer) => at("tuned", layer)) }),
  });
}

function words(state: State, { atPosition, lens }: Depth): Omit<Picture, "draw"> {
  const { token } = state.selection;
  const shift = "Length of tuned − base relative to their own, for what each layer computes";
  const where = atPosition
    ? `at ${quote(state.text(token))}`
    : "averaged over the tokens both models read";
  if (!lens) {
    return {
      title: "How far the models are apart, by layer",
      caption: "Higher: tuned computes something more different there.",
      how: `${shift}, ${where}. It says how much changed, not what for.`,
    };
  }
  return {
    title: `How ${quote(state.text(token))} builds up, by layer`,
    caption: "Higher: more different in tuned. Below: when the token becomes likely.",
    how: `${shift}, ${where}. Below: the logit lens, the token's log-probability if read after each layer (−1: embedding), cut at −12 nats.`,
  };
}
