// How far tuning turned the components of every layer, against random rotations, and what it added.

import type { RotationOfLayer } from "../../contract/contract.ts";
import type { Store } from "../../core/store.ts";
import {
  type BokehDocument,
  embedChart,
  fillSource,
  resize,
  selectLayerOnTap,
} from "../../draw/chart.ts";
import { h } from "../../draw/dom.ts";
import { number, percent } from "../../draw/format.ts";
import { reachable, roving } from "../../draw/roving.ts";
import type { View } from "../../shell/frame.ts";
import type { Sheet } from "./sheet.ts";

const FIGURES = ["angle_figure", "share_figure", "weights_figure"];
/** Words of a layer's first added direction that are shown. */
const WORDS = 6;

export function rotationView(store: Store, signal: AbortSignal): Sheet {
  const target = h("div", { class: "tl-chart" });
  const list = h("div", { class: "tl-layers", role: "group", "aria-label": "layers" });
  let chart: { document: BokehDocument; theme: string; scale: number; dispose(): void } | null =
    null;
  signal.addEventListener("abort", () => chart?.dispose());
  const buttons = () => [...list.querySelectorAll<HTMLElement>("[data-layer]")];
  const pick = (one: HTMLElement) => store.select({ layer: Number(one.dataset.layer) });
  list.addEventListener(
    "click",
    (event) => {
      const one = (event.target as HTMLElement).closest<HTMLElement>("[data-layer]");
      if (one) pick(one);
    },
    { signal },
  );
  roving(list, buttons, pick, signal);

  const ready = async (view: View): Promise<void> => {
    const theme = view.surface.palette.name;
    if (chart?.theme === theme) return;
    const [script, item] = await Promise.all([
      view.block<string>("asset/bokehjs"),
      view.block<object>(`chart/rotation/${theme}`),
    ]);
    const made = await embedChart(script, item, target, view.signal);
    chart?.dispose();
    chart = { ...made, theme, scale: 1 };
    selectLayerOnTap(made.document, "rotation", store);
  };

  return {
    el: h("div", {}, target, list),
    layered: false,
    async load(view) {
      target.hidden = false; // a chart measures where it stands
      const [rows] = await Promise.all([
        view.block<RotationOfLayer[]>("rotation"),
        // The list says the same: a page of this panel alone has no charts.
        view.optional(ready(view), true),
      ]);
      target.hidden = chart === null;
      return {
        title: "How far each layer’s concepts turned",
        caption: captionOf(rows),
        draw() {
          const { layer } = store.selection;
          if (chart) {
            const { scale } = view.surface;
            fillSource(chart.document, "marker", { layer: layer < 0 ? [] : [layer] });
            for (const name of FIGURES) resize(chart.document, name, chart.scale, scale);
            chart.scale = scale;
          }
          const focused = list.contains(document.activeElement)
            ? (document.activeElement as HTMLElement).dataset.layer
            : undefined;
          list.replaceChildren(head(), ...rows.map((row) => layerButton(row, layer)));
          const all = buttons();
          reachable(
            all,
            all.find((one) => Number(one.dataset.layer) === layer),
          );
          if (focused) all.find((one) => one.dataset.layer === focused)?.focus();
        },
      };
    },
  };
}

function captionOf(rows: RotationOfLayer[]): string {
  const k = rows[0]?.k ?? 0;
  return `Mean principal angle between the ${k} leading components of base and of tuned, with what a random rotation would give, and how far the weights differ against base’s. An angle may be large with little changed where components explain about equally much; the share of variance is not misled by that.`;
}

function head(): HTMLElement {
  const names = ["", "angle", "| random", "words that the weight difference points to", "weights"];
  return h(
    "div",
    { class: "tl-layer-row tl-head-row" },
    ...names.map((name) => h("span", {}, name)),
  );
}

function layerButton(row: RotationOfLayer, selected: number): HTMLElement {
  const words = row.added.slice(0, WORDS).map(([word]) => word);
  const inside = `${percent(row.inside)} of base’s variance inside`;
  const label = [
    `layer ${row.layer}`,
    `angle ${row.angle.toFixed(1)}° against ${row.null.toFixed(1)}° at random`,
    inside,
    `weights differ by ${percent(row.weights)}`,
    words.length ? `added: ${words.join(", ")}` : "nothing added",
  ].join("; ");
  const shown = row.layer === selected;
  const gauge = h("span", { class: "tl-meter tl-gauge" });
  const bar = h("i", { "data-value": row.angle });
  bar.style.width = `${(row.angle / 90) * 100}%`;
  const random = h("i", { class: "tl-null", "data-value": row.null });
  random.style.left = `${(row.null / 90) * 100}%`;
  gauge.append(bar, random);
  return h(
    "button",
    {
      type: "button",
      class: "tl-unit tl-layer-row",
      "data-layer": row.layer,
      "data-shown": shown,
      "aria-pressed": String(shown),
      "aria-label": label,
      title: label,
    },
    h("span", { class: "tl-unit-name" }, `layer ${row.layer}`),
    h("span", {}, `${row.angle.toFixed(1)}°`),
    gauge,
    h("span", { class: "tl-added" }, ...words.flatMap((word) => [h("bdi", {}, word), " "])),
    h("span", { class: "tl-unit-facts" }, number(row.weights)),
  );
}
