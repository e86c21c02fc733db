// The block beside the words: ways to find a unit, one tab each.

import type { Got, Need } from "../../core/load.ts";
import type { UnitTab } from "../../core/options.ts";
import type { State } from "../../core/state.ts";
import { captionLine } from "../../draw/caption.ts";
import { button, h } from "../../draw/dom.ts";
import { type Tab, tabs } from "../../draw/tabs.ts";
import type { PanelSetting } from "../../shell/frame.ts";
import { componentTable } from "./component_table.ts";
import type { Concepts, Sheet } from "./data.ts";
import { neuronList } from "./neuron_list.ts";
import { rotationView } from "./rotation.ts";
import { unitList } from "./unit_list.ts";
import { wordSearch } from "./word_search.ts";

const TABS = [
  { value: "units", label: "Units" },
  { value: "components", label: "Components" },
  { value: "neurons", label: "Neurons" },
  { value: "find", label: "Find" },
  { value: "rotation", label: "Rotation" },
] as const satisfies readonly Tab<UnitTab>[];

export function unitSheets(setting: PanelSetting) {
  const { store, signal } = setting;
  const sheets: Record<UnitTab, Sheet> = {
    units: unitList(store, signal),
    components: componentTable(store, signal),
    neurons: neuronList(setting),
    find: wordSearch(store, signal),
    rotation: rotationView(setting),
  };
  const sheetOf = (state: State) => sheets[state.options.concepts.tab] ?? sheets.units;
  const last = store.manifest.pair.layers - 1;
  let layer = 0; // as drawn
  const open = (tab: UnitTab) => store.setOptions("concepts", { tab });
  const row = tabs<UnitTab>("Ways to find a unit", TABS, signal, open);
  const title = h("h3", { class: "tl-title" });
  const caption = captionLine(signal);
  const step = (by: number, label: string, sign: string) => {
    const to = () => store.select({ layer: Math.min(Math.max(layer + by, 0), last) });
    return button(sign, to, signal, { "aria-label": label });
  };
  const previous = step(-1, "layer before", "‹");
  const next = step(1, "next layer", "›");
  const stepper = h("div", { class: "tl-stepper" }, previous, next);
  const el = h(
    "div",
    { class: "tl-unit-block" },
    h("div", { class: "tl-flow tl-head" }, h("div", { class: "tl-heading" }, title), stepper),
    row.bar,
    caption.el,
    row.sheet,
  );
  return {
    el,
    /** A sheet that has not got what it needs is not shown, and the rest of the panel is. */
    needs: (state: State, got: Got, shown: number): Need[] =>
      sheetOf(state)
        .needs(state, got, shown)
        .map((need) => (need.without === "fail" ? { ...need, without: "tell" } : need)),
    /** What the chosen tab shows; the result draws it. */
    picture(state: State, got: Got, concepts: Concepts) {
      const { tab } = state.options.concepts;
      const sheet = sheetOf(state);
      const failed = sheet
        .needs(state, got, concepts.layer)
        .some(({ key, without }) => without === "fail" && got(key).state === "failed");
      const picture = failed ? null : sheet.picture(state, got, concepts);
      return () => {
        layer = concepts.layer;
        row.show(tab);
        // In the page before it is filled: a chart measures where it stands.
        if (sheet.el.parentElement !== row.sheet) row.sheet.replaceChildren(sheet.el);
        stepper.hidden = !sheet.layered;
        previous.disabled = layer === 0;
        next.disabled = layer === last;
        title.textContent = picture?.title ?? "";
        caption.draw(picture ?? { caption: "" });
        sheet.el.hidden = picture === null;
        return picture?.draw();
      };
    },
  };
}
