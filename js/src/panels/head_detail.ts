// Into one head: a title, tabs, and what the chosen tab shows of it.

import type { HeadTab, Store } from "../core/store.ts";
import { h } from "../draw/dom.ts";
import { number } from "../draw/format.ts";
import type { ShownHead } from "./heads_data.ts";
import type { View } from "./panel.ts";

/** One way to look at a head. */
export interface HeadView {
  name: HeadTab;
  label: string;
  el: HTMLElement;
  load(view: View, shown: ShownHead): Promise<{ caption: string; draw(): void }>;
}

export interface Detail {
  el: HTMLElement;
  /** Load what the chosen tab shows; null leaves the place empty. */
  load(view: View, shown: ShownHead | null): Promise<() => void>;
}

let details = 0;

export function headDetail(store: Store, views: HeadView[], signal: AbortSignal): Detail {
  const id = `tl-detail-${++details}`;
  const title = h("h3", { class: "tl-title" });
  const note = h("span", { class: "tl-note" });
  const caption = h("p", { class: "tl-caption" });
  const tabs = views.map(({ name, label }) =>
    h(
      "button",
      {
        type: "button",
        class: "tl-tab",
        role: "tab",
        id: `${id}-${name}`,
        "aria-controls": `${id}-panel`,
        "data-tab": name,
      },
      label,
    ),
  );
  const list = h("div", { class: "tl-tabs", role: "tablist", "aria-label": "one head" }, ...tabs);
  const panel = h(
    "div",
    { class: "tl-tab-panel", role: "tabpanel", id: `${id}-panel` },
    caption,
    ...views.map((view) => view.el),
  );
  const choose = (tab: HTMLElement) => store.setOptions({ headTab: tab.dataset.tab as HeadTab });
  list.addEventListener(
    "click",
    (event) => {
      const tab = (event.target as HTMLElement).closest<HTMLElement>("[role=tab]");
      if (tab) choose(tab);
    },
    { signal },
  );
  list.addEventListener(
    "keydown",
    (event) => {
      const at = tabs.indexOf(event.target as HTMLButtonElement);
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (at < 0 || to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      event.stopPropagation();
      const next = tabs[(to + tabs.length) % tabs.length]!;
      next.focus();
      choose(next);
    },
    { signal },
  );
  const el = h(
    "div",
    { class: "tl-head-detail" },
    h("div", { class: "tl-head" }, h("div", { class: "tl-heading" }, title, note), list),
    panel,
  );
  return {
    el,
    async load(view, shown) {
      const chosen = views.find(({ name }) => name === store.options.headTab) ?? views[0]!;
      const picture = shown && (await chosen.load(view, shown));
      return () => {
        el.classList.toggle("tl-gone", shown === null);
        if (!shown || !picture) return;
        title.textContent = `Layer ${shown.layer}, head ${shown.head}`;
        note.textContent = `${shown.chosen ? "" : "changed most · "}change ${number(shown.change)} bit`;
        caption.textContent = picture.caption;
        el.classList.toggle("tl-unchosen", !shown.chosen);
        for (const [i, one] of views.entries()) {
          const here = one === chosen;
          one.el.hidden = !here;
          tabs[i]!.setAttribute("aria-selected", String(here));
          tabs[i]!.tabIndex = here ? 0 : -1;
        }
        panel.setAttribute("aria-labelledby", `${id}-${chosen.name}`);
        picture.draw();
      };
    },
  };
}
