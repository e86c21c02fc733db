// How far the models are apart, layer by layer: a Bokeh chart filled from blocks.

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
import { bokehChart, type ChartParts } from "../../draw/chart.ts";
import { quote } from "../../draw/format.ts";
import { meanRows, type Numbers, row } from "../../maths/numbers.ts";
import type { Picture, Row, Setting } from "../../shell/frame.ts";
import { inColumns, type View } from "./view.ts";

const PARTS = ["attention", "feed_forward", "residual"] as const;

interface Depth {
  shift: Record<(typeof PARTS)[number], number[]>;
  /** Whether the shift is that of the selected position, not the mean. */
  atPosition: boolean;
  lens: BySide<Lens | null> | null;
}

export function layersView(setting: Setting): View {
  const chart = bokehChart(
    { chart: "overview", figures: ["shift_figure", "lens_figure"], taps: ["shift", "lens"] },
    setting,
  );
  return {
    name: "layers",
    label: "Layers",
    el: chart.el,
    needs: (state) => [
      ...required(...chart.keys(), ...PARTS.map((part) => shifts[part]())),
      ...lensNeeds(state),
    ],
    picture(state, got) {
      const depth = depthOf(state, got);
      const { layer } = state.selection;
      return {
        ...words(state, depth),
        table: () => layerTable(depth),
        draw: () => chart.draw(got, (parts) => fill(parts, chart.el, depth, layer)),
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

function fill(parts: ChartParts, el: HTMLElement, { shift, lens }: Depth, layer: number): void {
  parts.fill("shift", { layer: shift.attention.map((_, i) => i), ...shift });
  const curves: Record<string, Numbers> = { layer: [], base: [], tuned: [] };
  if (lens) {
    const depth = Math.max(lens.base?.layers.length ?? 0, lens.tuned?.layers.length ?? 0);
    const curve = (lensOf: Lens | null) =>
      Array.from({ length: depth }, (_, i) => lensOf?.layers[i]?.logprob ?? Number.NaN);
    curves.layer = Array.from({ length: depth }, (_, i) => i - 1);
    curves.base = curve(lens.base);
    curves.tuned = curve(lens.tuned);
    parts.fill("lens", curves);
  }
  parts.show("lens_figure", lens !== null);
  parts.fill("marker", { layer: layer < 0 ? [] : [layer] });
  Object.assign(el, { twinlens: { values: { ...shift, lens: curves } } });
}

/** Layer by layer, for a file; the lens begins with the embedding. */
function layerTable({ shift, lens }: Depth): Row[] {
  const at = (side: Side, layer: number) => lens?.[side]?.layers[layer + 1]?.logprob ?? Number.NaN;
  const layers = shift.attention.map((_, layer) => layer);
  return inColumns({
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
