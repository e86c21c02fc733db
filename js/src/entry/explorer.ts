// The explorer's module: one store for all panels, and the dashboard as its own view.

import type { AnyModel, AnyWidget } from "@anywidget/types";
import type { PanelKind } from "../contract/contract.ts";
import { type Model, Store } from "../core/store.ts";
import { mount } from "../shell/mount.ts";
import { type Channel, kernel } from "../sources/kernel.ts";

export interface Exports {
  mount(kind: PanelKind, el: HTMLElement, signal: AbortSignal): Promise<void>;
}

// A function, so that every explorer has a store of its own wherever the module is shared.
const explorer: AnyWidget = () => {
  let store: Store | undefined;
  return {
    initialize({ model, signal }): Exports {
      const made = new Store(
        asModel(model),
        kernel(model as Channel, signal, (key, value) => made.receive(key, value)),
        signal,
      );
      store = made;
      hide(model.get("_still"));
      return { mount: (kind, el, ending) => mount(made, kind, el, ending) };
    },
    async render({ el, signal }) {
      if (store) await mount(store, "dashboard", el, signal);
    },
  };
};

/** Hide the still pictures of an explorer that is alive, also those that are yet to come. */
function hide(still: string): void {
  const style = document.createElement("style");
  style.textContent = `.${CSS.escape(still)} { display: none }`;
  document.head.append(style);
}

function asModel(model: AnyModel): Model {
  return model as Model;
}

export default explorer;
