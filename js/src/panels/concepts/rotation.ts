// How far tuning turned the components of every layer, against random rotations, and what it added.

import { keys, type RotationOfLayer } from "../../contract/contract.ts";
import { quiet, required, take } from "../../core/load.ts";
import { bokehChart } from "../../draw/chart.ts";
import { fill, h } from "../../draw/dom.ts";
import { number, percent } from "../../draw/format.ts";
import { choosable, reachable } from "../../draw/roving.ts";
import type { Setting } from "../../shell/frame.ts";
import type { Sheet } from "./data.ts";

/** Words of a layer's first added direction that are shown. */
const WORDS = 6;

export function rotationView(setting: Setting): Sheet {
  const { store, signal } = setting;
  const chart = bokehChart(
    {
      chart: "rotation",
      figures: ["angle_figure", "share_figure", "weights_figure"],
      taps: ["rotation"],
    },
    setting,
  );
  const list = h("div", { class: "tl-layers", role: "group", "aria-label": "layers" });
  const pick = ({ dataset }: HTMLElement) => store.select({ layer: Number(dataset.layer) });
  const buttons = choosable(list, "[data-layer]", signal, pick);

  return {
    el: h("div", {}, chart.el, list),
    layered: false,
    needs: () => [
      ...required(keys.rotation()),
      // The list says the same: a page of this panel alone has no charts.
      ...quiet(...chart.keys()),
    ],
    picture({ selection: { layer } }, got) {
      const rows = take(got(keys.rotation()));
      return {
        title: "How far each layer’s concepts turned",
        caption: captionOf(rows),
        async draw() {
          const focused = list.contains(document.activeElement)
            ? (document.activeElement as HTMLElement).dataset.layer
            : undefined;
          fill(list, head(), ...rows.map((row) => layerButton(row, layer)));
          const all = buttons();
          reachable(
            all,
            all.find((bar) => Number(bar.dataset.layer) === layer),
          );
          if (focused) all.find((bar) => bar.dataset.layer === focused)?.focus();
          chart.el.hidden = chart.missing(got) !== undefined;
          if (chart.el.hidden) return;
          const marked = { layer: layer < 0 ? [] : [layer] };
          await chart
            .draw(got, (parts) => parts.fill("marker", marked))
            .catch(() => {
              chart.el.hidden = true;
            });
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
    { class: "tl-layer-row tl-head-row tl-aside" },
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
  const share = (angle: number) => `${(angle / 90) * 100}%`;
  const random = { class: "tl-null", "data-value": row.null, style: `left: ${share(row.null)}` };
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
    h(
      "span",
      { class: "tl-meter tl-gauge" },
      h("i", { "data-value": row.angle, style: `width: ${share(row.angle)}` }),
      h("i", random),
    ),
    h("span", { class: "tl-cut" }, ...words.flatMap((word) => [h("bdi", {}, word), " "])),
    h("span", { class: "tl-unit-facts tl-aside" }, number(row.weights)),
  );
}
