// Mounting: a themed root, the keys that work everywhere, and one panel or all of them.

import { PANELS, type PanelKind } from "../contract/contract.ts";
import type { Store } from "../core/store.ts";
import { h } from "../draw/dom.ts";
import { surface } from "../draw/theme.ts";
import { tooltip } from "../draw/tooltip.ts";
import { MAKERS } from "../panels/index.ts";
import { dashboard } from "./dashboard.ts";
import { runPanel } from "./frame.ts";

/** Mount a panel or the dashboard; resolves after the first picture, ends with `signal`. */
export async function mount(
  store: Store,
  kind: PanelKind,
  el: HTMLElement,
  signal: AbortSignal,
): Promise<void> {
  if (!PANELS.includes(kind)) throw new Error(`there is no panel ${kind}`);
  const ending = AbortSignal.any([signal, store.signal]);
  // Focusable, so that keys work after a click anywhere; JupyterLab leaves them to us.
  const root = h("div", {
    class: "twinlens",
    tabindex: -1,
    "data-lm-suppress-shortcuts": "true",
  });
  const content = h("div", { class: "tl-content" });
  root.append(content);
  el.append(root);
  ending.addEventListener("abort", () => root.remove());
  const setting = {
    store,
    signal: ending,
    surface: surface(root, store, ending),
    tooltip: tooltip(root, ending),
  };
  keys(root, store, ending);
  if (kind !== "dashboard") return runPanel(kind, MAKERS[kind], { el: content }, setting);
  const { el: board, arrange, place, ask } = dashboard(store, ending);
  content.append(board);
  arrange();
  const names = Object.keys(MAKERS) as (keyof typeof MAKERS)[];
  await Promise.all(names.map((name) => runPanel(name, MAKERS[name], place(name), setting)));
  ask();
}

function keys(root: HTMLElement, store: Store, signal: AbortSignal): void {
  root.addEventListener(
    "keydown",
    (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      if ((event.target as HTMLElement).matches("input, select, textarea")) return;
      const help = root.querySelector<HTMLElement>(".tl-help");
      switch (event.key) {
        case "Escape":
          if (help && !help.hidden) help.hidden = true;
          else store.stepBack();
          break;
        case "p":
        case "P":
          store.setPresentation(!store.presentation);
          break;
        case "?":
          if (help) help.hidden = !help.hidden;
          break;
        default:
          return;
      }
      event.preventDefault();
      event.stopPropagation(); // the notebook has keys of its own
    },
    { signal },
  );
}
