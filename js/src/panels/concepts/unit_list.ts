// Units of the shown layer: components with how far they turned, neurons active at the token.

import { keys, SIDES } from "../../contract/contract.ts";
import type { State } from "../../core/state.ts";
import type { Store } from "../../core/store.ts";
import { fill, h } from "../../draw/dom.ts";
import { number, ofBoth, percent, quote } from "../../draw/format.ts";
import { meter } from "../../draw/meter.ts";
import { choosable, reachable } from "../../draw/roving.ts";
import { largest } from "../../maths/numbers.ts";
import type { Concepts, Sheet, UnitRow } from "./data.ts";

/** What tells the buttons of a list, or of a table's head, apart. */
const MARKS = ["unit", "layer", "sort"] as const;

export function unitList(store: Store, signal: AbortSignal): Sheet {
  const el = h("div", { class: "tl-flow tl-units" });
  const pickable = pickUnits(el, store, signal);
  return {
    el,
    layered: true,
    needs: () => [],
    picture(state, _, concepts) {
      const { layer, measured } = concepts;
      const { token } = state.selection;
      const first = measured ? "Measured, largest first" : "Estimated, to be measured";
      const whose = token < state.promptLength ? "the answer" : quote(state.text(token));
      const where = token < state.promptLength ? `at ${quote(state.text(token))}` : "there";
      return {
        title: `Units of layer ${layer}`,
        caption:
          measured !== null
            ? `${first}: nats that ${whose} loses without the unit ${where}, base above tuned.`
            : token >= 0
              ? "Most active first; bars: activation at the selected token, base above tuned."
              : "The ten leading ones, most turned first, then by rank: angle between the models, variance in base.",
        draw() {
          el.dataset.effects = effectsOf(state, concepts);
          pickable(
            layer,
            concepts.unit,
            group("concepts", concepts.components, concepts),
            ...(concepts.neurons.length ? [group("neurons", concepts.neurons, concepts)] : []),
          );
        },
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
  const layerOf = (button: HTMLElement) => Number(button.dataset.layer ?? layer);
  const pick = (button: HTMLElement, clicked: boolean) => {
    const chosen = { layer: layerOf(button), unit: button.dataset.unit! };
    const { selection } = store;
    const again = selection.unit === chosen.unit && selection.layer === chosen.layer;
    store.select(clicked && again ? { unit: "" } : chosen);
  };
  const buttons = choosable(el, "[data-unit]", signal, pick);
  return (now, shown, ...content) => {
    layer = now;
    const focus = document.activeElement as HTMLElement | null;
    const focused = el.contains(focus) ? focus!.dataset : null;
    fill(el, ...content);
    const all = buttons();
    const current = all.find((card) => card.dataset.unit === shown && layerOf(card) === layer);
    reachable(all, current);
    if (!focused) return;
    const focusable = [...all, ...el.querySelectorAll<HTMLElement>("[data-sort]")];
    focusable
      .find(({ dataset }) => MARKS.every((mark) => dataset[mark] === focused[mark]))
      ?.focus();
  };
}

/** How far the effects of the units are: what is not measured yet may change the order. */
function effectsOf(state: State, { layer, measured }: Concepts): string {
  const { token } = state.selection;
  if (measured !== null) return measured ? "measured" : "estimated";
  const asked = token >= 0 && state.live && !state.lacks(keys.unitEffects(layer, token));
  return asked ? "awaited" : "";
}

function group(name: string, rows: UnitRow[], concepts: Concepts): HTMLElement {
  const { measured } = concepts;
  const shown = (row: UnitRow) => (measured === null ? row.activations : row.effects);
  const max = largest(rows.flatMap((row) => SIDES.map((side) => shown(row)?.[side] ?? 0)));
  const scale =
    measured === null
      ? `activation up to ${number(max)}`
      : `${measured ? "effect" : "estimate"} up to ${number(max)} nats`;
  const lines = rows.map((row) => {
    const values = shown(row);
    return unitButton(
      row,
      values && meter(values, max, measured === false ? "hatched" : "solid"),
      concepts,
    );
  });
  return h(
    "div",
    { role: "group", "aria-label": name },
    h(
      "div",
      { class: "tl-unit-title tl-quiet" },
      h("span", {}, name),
      h("span", {}, max > 0 ? scale : ""),
    ),
    h("div", { class: "tl-unit-rows" }, ...lines),
  );
}

function unitButton(row: UnitRow, bars: HTMLElement | null, concepts: Concepts): HTMLElement {
  const facts: string[] = [];
  // Beside bars or a name there is room for one number; the label has them all.
  if (row.explained && !bars && !row.activations && !row.given) {
    facts.push(percent(row.explained.base));
  }
  if (row.angle !== null) facts.unshift(`${row.angle.toFixed(0)}°`);
  const how = concepts.measured ? "measured" : "estimated";
  const { explained } = row;
  const label = [
    row.name,
    row.given && `named ${row.given}`,
    row.doubt,
    row.effects && `${how} effect ${ofBoth(row.effects)} nats`,
    row.angle !== null && `turned ${row.angle.toFixed(0)}°`,
    ...SIDES.map((side) => explained && `${percent(explained[side])} of the variance in ${side}`),
    row.activations && `${row.effects ? "activation " : ""}${ofBoth(row.activations)}`,
  ]
    .filter(Boolean)
    .join(", ");
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
    h("span", { class: "tl-unit-facts tl-aside" }, facts.join("  ·  ")),
    row.given && h("bdi", { class: "tl-unit-given tl-cut" }, row.given),
    row.doubt && h("span", { class: "tl-unit-doubt tl-quiet" }, row.doubt),
    bars,
  );
}
