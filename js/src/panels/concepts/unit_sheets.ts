// The block beside the words: ways to find a unit, one tab each.

import type { UnitTab } from "../../core/options.ts";
import { h } from "../../draw/dom.ts";
import { type Tab, tabs } from "../../draw/tabs.ts";
import type { Setting, View } from "../../shell/frame.ts";
import { componentTable } from "./component_table.ts";
import { type Concepts, stepLayer } from "./data.ts";
import { neuronList } from "./neuron_list.ts";
import { rotationView } from "./rotation.ts";
import type { Sheet } from "./sheet.ts";
import { unitList } from "./unit_list.ts";
import { wordSearch } from "./word_search.ts";

export interface UnitSheets {
  el: HTMLElement;
  /** Load what the chosen tab shows; the result draws it. */
  load(view: View, concepts: Concepts): Promise<() => void | Promise<void>>;
  /** Look a word up in the components of both models. */
  find(word: string): void;
}

const TABS = [
  { value: "units", label: "Units" },
  { value: "components", label: "Components" },
  { value: "neurons", label: "Neurons" },
  { value: "find", label: "Find" },
  { value: "rotation", label: "Rotation" },
] as const satisfies readonly Tab<UnitTab>[];

export function unitSheets(setting: Setting): UnitSheets {
  const { store, signal } = setting;
  let refresh = () => {};
  const again = () => refresh();
  const search = wordSearch(store, again, signal);
  const sheets: Record<UnitTab, Sheet> = {
    units: unitList(store, signal),
    components: componentTable(store, signal),
    neurons: neuronList(store, again, signal),
    find: search,
    rotation: rotationView(setting),
  };
  let layer = 0;
  const open = (tab: UnitTab) => store.setOptions("concepts", { tab });
  const row = tabs<UnitTab>("Ways to find a unit", TABS, open, signal);
  const title = h("h3", { class: "tl-title" });
  const caption = h("p", { class: "tl-caption" });
  const step = (by: number, label: string, sign: string) => {
    const one = h("button", { type: "button", class: "tl-button", "aria-label": label }, sign);
    one.addEventListener("click", () => stepLayer(store, layer, by), { signal });
    return one;
  };
  const previous = step(-1, "layer before", "‹");
  const next = step(1, "next layer", "›");
  const stepper = h("div", { class: "tl-stepper" }, previous, next);
  const el = h(
    "div",
    { class: "tl-unit-block" },
    h("div", { class: "tl-head" }, h("div", { class: "tl-heading" }, title), stepper),
    row.bar,
    caption,
    row.sheet,
  );
  return {
    el,
    async load(view, concepts) {
      refresh = view.refresh;
      const { tab } = store.options.concepts;
      const sheet = sheets[tab] ?? sheets.units;
      row.show(tab);
      // In the page before it is filled: a chart measures where it stands.
      if (sheet.el.parentElement !== row.sheet) row.sheet.replaceChildren(sheet.el);
      const picture = await view.optional(sheet.load(view, concepts));
      return () => {
        layer = concepts.layer;
        stepper.hidden = !sheet.layered;
        previous.disabled = layer === 0;
        next.disabled = layer === store.manifest.pair.layers - 1;
        title.textContent = picture?.title ?? "";
        caption.textContent = picture?.caption ?? "";
        sheet.el.hidden = picture === null;
        return picture?.draw();
      };
    },
    find(word) {
      open("find");
      search.ask(word);
    },
  };
}
