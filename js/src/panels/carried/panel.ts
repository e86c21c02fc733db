// Which parts of a model carry the difference: replaced by what the other one computes there.

import type { CarriedView } from "../../core/options.ts";
import type { State } from "../../core/state.ts";
import { h, picker } from "../../draw/dom.ts";
import type { MakePanel } from "../../shell/frame.ts";
import { eachView } from "./each.ts";
import { setView } from "./set.ts";

export const carriedPanel: MakePanel = (setting) => {
  const { store, signal } = setting;
  const views = [setView(setting), eachView(setting)];
  const chosen = ({ options }: State) =>
    views.find(({ name }) => name === options.carried.view) ?? views[0]!;
  const choices = views.map(({ name, label }) => ({ value: name, label }));
  const ways = picker<CarriedView>("What is exchanged", signal, (view) =>
    store.setOptions("carried", { view }),
  );
  return {
    label: "What carries the difference of the predictions",
    controls: [ways.el, ...views.flatMap(({ controls }) => controls)],
    body: h("div", { class: "tl-body" }, ...views.map(({ el }) => el)),
    reads: ({ selection: { token, layer, head, unit } }) => [token, layer, head, unit],
    needs: (state, got) => chosen(state).needs(state, got),
    picture(state, got) {
      const view = chosen(state);
      const picture = view.picture(state, got);
      return {
        ...picture,
        table: view.table,
        draw() {
          ways.update(choices, view.name);
          for (const each of views) {
            each.el.hidden = each !== view;
            if (each !== view) for (const control of each.controls) control.hidden = true;
          }
          return picture.draw();
        },
      };
    },
  };
};
