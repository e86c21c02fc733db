// Units of the shown layer: components with how far they turned, neurons active at the token.

import { SIDES } from "../../contract/contract.ts";
import type { Store } from "../../core/store.ts";
import { h } from "../../draw/dom.ts";
import { number, percent } from "../../draw/format.ts";
import { meter } from "../../draw/meter.ts";
import { reachable, roving } from "../../draw/roving.ts";
import { largest } from "../../maths/numbers.ts";
import type { Concepts, UnitRow } from "./data.ts";
import type { Sheet } from "./sheet.ts";

/** What tells the buttons of a list, or of a table's head, apart. */
const MARKS = ["unit", "layer", "sort"] as const;

export function unitList(store: Store, signal: AbortSignal): Sheet {
  const el = h("div", { class: "tl-units" });
  const pickable = pickUnits(el, store, signal);
  return {
    el,
    layered: true,
    needs: () => [],
    picture({ selection: { token } }, _, concepts) {
      const { layer } = concepts;
      return {
        title: `Units of layer ${layer}`,
        caption:
          token >= 0
            ? "Most active first; bars: activation at the selected token, base above tuned."
            : "The ten leading ones, most turned first, then by rank: angle between the models, variance in base.",
        draw: () =>
          pickable(
            layer,
            concepts.unit,
            group("concepts", concepts.components, concepts),
            ...(concepts.neurons.length ? [group("neurons", concepts.neurons, concepts)] : []),
          ),
      };
    },
  };
}

/**
 * Buttons with `data-unit`, and `data-layer` where that is not the shown one: a click selects the
 * unit or lets go of it, arrow keys step. The result replaces the content and keeps the focus.
 */
export function pickUnits(
  el: HTMLElement,
  store: Store,
  signal: AbortSignal,
): (layer: number, shown: string, ...content: HTMLElement[]) => void {
  let layer = 0;
  const buttons = () => [...el.querySelectorAll<HTMLElement>("[data-unit]")];
  const layerOf = (one: HTMLElement) => Number(one.dataset.layer ?? layer);
  const pick = (one: HTMLElement) => store.select({ layer: layerOf(one), unit: one.dataset.unit! });
  el.addEventListener(
    "click",
    (event) => {
      const one = (event.target as HTMLElement).closest<HTMLElement>("[data-unit]");
      if (!one) return;
      const { selection } = store;
      if (selection.unit === one.dataset.unit && selection.layer === layerOf(one)) {
        store.select({ unit: "" });
      } else pick(one);
    },
    { signal },
  );
  roving(el, buttons, pick, signal);
  return (now, shown, ...content) => {
    layer = now;
    const focus = document.activeElement as HTMLElement | null;
    const focused = el.contains(focus) ? focus!.dataset : null;
    el.replaceChildren(...content);
    const all = buttons();
    const current = all.find((one) => one.dataset.unit === shown && layerOf(one) === layer);
    reachable(all, current);
    if (!focused) return;
    const focusable = [...all, ...el.querySelectorAll<HTMLElement>("[data-sort]")];
    focusable
      .find(({ dataset }) => MARKS.every((mark) => dataset[mark] === focused[mark]))
      ?.focus();
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
  // Beside bars or a name there is room for one number; the label has them all.
  if (row.explained && !row.activations && !row.given) {
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
  const given = row.given ? [`named ${row.given}`] : [];
  const doubt = row.doubt ? [row.doubt] : [];
  const label = [row.name, ...given, ...doubt, ...turned, ...shares, ...active].join(", ");
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
    row.given && h("bdi", { class: "tl-unit-given" }, row.given),
    row.doubt && h("span", { class: "tl-unit-doubt" }, row.doubt),
    row.activations && meter(row.activations, max),
  );
}
