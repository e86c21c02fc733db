// Units of the shown layer: components with how far they turned, neurons active at the token.

import { largest } from "../core/numbers.ts";
import type { Store } from "../core/store.ts";
import { h } from "../draw/dom.ts";
import { number, percent } from "../draw/format.ts";
import { SIDES, type Side } from "../protocol.ts";
import { type Concepts, stepLayer, type UnitRow } from "./concepts_data.ts";
import { reachable, roving } from "./roving.ts";

export interface UnitList {
  el: HTMLElement;
  draw(concepts: Concepts): void;
}

export function unitList(store: Store, signal: AbortSignal): UnitList {
  let layer = 0;
  const title = h("h3", { class: "tl-title" });
  const caption = h("p", { class: "tl-caption" });
  const step = (by: number, label: string, sign: string) => {
    const one = h("button", { type: "button", class: "tl-button", "aria-label": label }, sign);
    one.addEventListener("click", () => stepLayer(store, layer, by), { signal });
    return one;
  };
  const previous = step(-1, "layer before", "‹");
  const next = step(1, "next layer", "›");
  const list = h("div", { class: "tl-units" });
  const buttons = () => [...list.querySelectorAll<HTMLElement>("[data-unit]")];
  const pick = (one: HTMLElement) => store.select({ layer, unit: one.dataset.unit! });
  list.addEventListener(
    "click",
    (event) => {
      const one = (event.target as HTMLElement).closest<HTMLElement>("[data-unit]");
      if (!one) return;
      if (store.selection.unit === one.dataset.unit) store.select({ unit: "" });
      else pick(one);
    },
    { signal },
  );
  roving(list, buttons, pick, signal);
  const el = h(
    "div",
    { class: "tl-unit-block" },
    h(
      "div",
      { class: "tl-head" },
      h("div", { class: "tl-heading" }, title),
      h("div", { class: "tl-stepper" }, previous, next),
    ),
    caption,
    list,
  );
  return {
    el,
    draw(concepts) {
      layer = concepts.layer;
      title.textContent = `Units of layer ${layer}`;
      previous.disabled = layer === 0;
      next.disabled = layer === store.manifest.pair.layers - 1;
      const active = store.selection.token >= 0;
      caption.textContent = active
        ? "Most active first; bars: activation at the selected token, base above tuned."
        : "The ten leading ones, most turned first, then by rank: angle between the models, variance in base.";
      const focused = (document.activeElement as HTMLElement | null)?.dataset.unit;
      list.replaceChildren(
        group("concepts", concepts.components, concepts),
        ...(concepts.neurons.length ? [group("neurons", concepts.neurons, concepts)] : []),
      );
      const all = buttons();
      const current = all.find((one) => one.dataset.unit === concepts.unit);
      reachable(all, current);
      const again = focused && list.isConnected && all.find((one) => one.dataset.unit === focused);
      if (again && !document.activeElement?.matches("[data-unit]")) again.focus();
    },
  };
}

function group(name: string, rows: UnitRow[], concepts: Concepts): HTMLElement {
  const max = largest(rows.flatMap((row) => SIDES.map((side) => row.activations?.[side] ?? 0)));
  const scale = max > 0 ? `activation up to ${number(max)}` : "";
  return h(
    "div",
    { role: "group", "aria-label": name },
    h("div", { class: "tl-unit-title" }, h("span", {}, name), h("span", {}, scale)),
    h("div", { class: "tl-unit-rows" }, ...rows.map((row) => unitButton(row, max, concepts))),
  );
}

function unitButton(row: UnitRow, max: number, concepts: Concepts): HTMLElement {
  const facts: string[] = [];
  // Beside bars there is room for one number; the label has them all.
  if (row.explained && !row.activations) {
    facts.push(percent(row.explained.base));
  }
  if (row.angle !== null) facts.unshift(`${row.angle.toFixed(0)}°`);
  const active = row.activations
    ? SIDES.map((side) => `${side} ${number(row.activations![side] ?? Number.NaN)}`)
    : [];
  const shares = row.explained
    ? SIDES.map((side) => `${percent(row.explained![side])} of the variance in ${side}`)
    : [];
  const turned = row.angle === null ? [] : [`turned ${row.angle.toFixed(0)}°`];
  const label = [row.name, ...turned, ...shares, ...active].join(", ");
  return h(
    "button",
    {
      type: "button",
      class: "tl-unit",
      "data-unit": row.unit,
      "aria-pressed": String(row.unit === concepts.unit && concepts.chosen),
      "data-shown": row.unit === concepts.unit,
      "aria-label": label,
      title: label,
    },
    h("span", { class: "tl-unit-name" }, row.name),
    h("span", { class: "tl-unit-facts" }, facts.join("  ·  ")),
    row.activations &&
      h(
        "span",
        { class: "tl-meter" },
        ...SIDES.map((side) => meter(side, row.activations![side], max)),
      ),
  );
}

/** A bar from the middle: to the right positive, to the left negative. */
function meter(side: Side, value: number | undefined, max: number): HTMLElement {
  const bar = h("i", { class: "tl-needle", "data-side": side, "data-value": value });
  const share = max > 0 ? Math.abs(value ?? 0) / max : 0;
  bar.style.width = `${share * 50}%`;
  bar.style.left = (value ?? 0) < 0 ? `${50 - share * 50}%` : "50%";
  return bar;
}
