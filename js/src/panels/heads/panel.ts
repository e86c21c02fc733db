// Every attention head of both models, and a look into one.

import { unitName } from "../../contract/units.ts";
import type { HeadMeasure } from "../../core/options.ts";
import type { Store } from "../../core/store.ts";
import { button, h, picker } from "../../draw/dom.ts";
import type { MakePanel } from "../../shell/frame.ts";
import { type HeadNumbers, loadHeads, loadShown } from "./data.ts";
import { headDetail } from "./detail.ts";
import { headEffects } from "./effects.ts";
import { ExactEffects } from "./effects_data.ts";
import { headGrid } from "./grid.ts";
import { headList } from "./list.ts";
import { headMaps } from "./maps.ts";
import {
  changeText,
  isChange,
  lookOf,
  MEASURES,
  measureOf,
  measures,
  titleOf,
} from "./measures.ts";
import { headPairs } from "./pairs.ts";
import { headScatter } from "./scatter.ts";

export const headsPanel: MakePanel = (setting) => {
  const { store, tooltip, signal } = setting;
  const { layers, heads } = store.manifest.pair;
  const exact = new ExactEffects(layers * heads);
  const grid = headGrid(store, tooltip, signal);
  const list = headList(store, signal);
  const detail = headDetail(
    store,
    [
      headMaps(store, tooltip, signal),
      headEffects(store, exact, signal),
      headPairs(store, signal),
      headScatter(setting),
    ],
    signal,
  );
  const measure = picker<HeadMeasure>(
    "Colour of the heads",
    (measure) => store.setOptions("heads", { measure }),
    signal,
  );
  const average = picker<"token" | "average">(
    "Where the heads are read",
    (where) => store.setOptions("heads", { average: where === "average" }),
    signal,
  );
  const look = button(
    "list",
    () =>
      store.setOptions("heads", { view: store.options.heads.view === "list" ? "grid" : "list" }),
    signal,
    { title: "all heads in one list, sorted" },
  );
  return {
    label: "Heads: attention of both models",
    controls: [look, average.el, measure.el],
    body: h(
      "div",
      { class: "tl-body" },
      h("div", { class: "tl-grid-block" }, grid.el, list.el),
      detail.el,
    ),
    async load(view) {
      const [numbers, drawDetail] = await Promise.all([
        loadHeads(view, exact),
        view.optional(loadShown(view)).then((shown) => detail.load(view, shown)),
      ]);
      return {
        title: titleOf(store, numbers.measure),
        caption: captionOf(store, numbers),
        draw() {
          const listed = store.options.heads.view === "list";
          grid.el.hidden = listed;
          list.el.hidden = !listed;
          look.textContent = listed ? "grid" : "list";
          if (listed) list.draw(numbers);
          else grid.draw(view, numbers);
          const detailed = drawDetail();
          const choices = measures(store).map((value) => ({ value, label: MEASURES[value].name }));
          measure.update(choices, measureOf(store));
          average.update(
            store.selection.token < 0
              ? []
              : [
                  { value: "token", label: "at the token" },
                  { value: "average", label: "whole answer" },
                ],
            store.options.heads.average ? "average" : "token",
          );
          return detailed;
        },
      };
    },
  };
};

function captionOf(store: Store, { measure, shown, instead }: HeadNumbers): string {
  const look = lookOf(store, shown);
  const order =
    store.options.heads.view === "list" ? "Sorted by size." : "Layers down, heads across.";
  const wanted = store.selection.unit && measureOf(store) === "write" && measure !== "write";
  const layers = wanted
    ? `What the heads write into ${unitName(store.selection.unit)} is not recorded here.`
    : `${order}${instead && ` ${instead}`}`;
  if (isChange(measure)) return `${look}; ${changeText(measure)}. ${layers}`;
  if (measure === "pairs") return `${look}. ${layers}`;
  if (measure === "effect") return `${look}. ${layers} An estimate is not the effect.`;
  if (measure === "exact") return `${look}. ${layers}`;
  return `${look}. ${layers} Attention is not attribution.`;
}
