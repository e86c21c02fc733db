// Layer by layer, and where the difference comes from: one view of a few, by their tabs.

import type { State } from "../../core/state.ts";
import { h } from "../../draw/dom.ts";
import { tabs } from "../../draw/tabs.ts";
import type { MakePanel } from "../../shell/frame.ts";
import { handoverView } from "./handover.ts";
import { layersView } from "./layers.ts";
import { lensView } from "./lens.ts";
import { templateView } from "./template.ts";

export const overviewPanel: MakePanel = (setting) => {
  const { store, signal } = setting;
  const views = [
    layersView(setting),
    lensView(setting),
    templateView(setting),
    handoverView(setting),
  ];
  const row = tabs(
    "how the difference comes about",
    views.map(({ name, label }) => ({ value: name, label })),
    signal,
    (tab) => store.setOptions("overview", { tab }),
  );
  row.sheet.append(...views.map(({ el }) => el));
  const viewOf = ({ options }: State) =>
    views.find(({ name }) => name === options.overview.tab) ?? views[0]!;
  return {
    label: "Overview: how far the models are apart by layer, and by what",
    controls: [],
    body: h("div", { class: "tl-body" }, row.bar, row.sheet),
    reads: ({ selection: { token, layer } }) => [token, layer],
    needs: (state, got) => viewOf(state).needs(state, got),
    picture(state, got) {
      const chosen = viewOf(state);
      const picture = chosen.picture(state, got);
      return {
        ...picture,
        draw() {
          row.show(chosen.name);
          for (const view of views) view.el.hidden = view !== chosen;
          return picture.draw();
        },
      };
    },
  };
};
