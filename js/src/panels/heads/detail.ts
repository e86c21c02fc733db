// Into one head: a title, tabs, and what the chosen tab shows of it.

import type { HeadTab } from "../../core/options.ts";
import type { Store } from "../../core/store.ts";
import { h } from "../../draw/dom.ts";
import { number } from "../../draw/format.ts";
import { tabs } from "../../draw/tabs.ts";
import type { View } from "../../shell/frame.ts";
import type { ShownHead } from "./data.ts";

/** One way to look at a head. */
export interface HeadView {
  name: HeadTab;
  label: string;
  el: HTMLElement;
  load(view: View, shown: ShownHead): Promise<{ caption: string; draw(): void | Promise<void> }>;
}

export interface Detail {
  el: HTMLElement;
  /** Load what the chosen tab shows; null leaves the place empty. */
  load(view: View, shown: ShownHead | null): Promise<() => void | Promise<void>>;
}

export function headDetail(store: Store, views: HeadView[], signal: AbortSignal): Detail {
  const title = h("h3", { class: "tl-title" });
  const note = h("span", { class: "tl-note" });
  const caption = h("p", { class: "tl-caption" });
  const row = tabs(
    "one head",
    views.map(({ name, label }) => ({ value: name, label })),
    (tab) => store.setOptions("heads", { tab }),
    signal,
  );
  row.sheet.append(caption, ...views.map((view) => view.el));
  const el = h(
    "div",
    { class: "tl-head-detail" },
    h("div", { class: "tl-heading" }, title, note),
    row.bar,
    row.sheet,
  );
  return {
    el,
    async load(view, shown) {
      const chosen = views.find(({ name }) => name === store.options.heads.tab) ?? views[0]!;
      const picture = shown && (await chosen.load(view, shown));
      return () => {
        el.classList.toggle("tl-gone", shown === null);
        if (!shown || !picture) return;
        const found = shown.chosen ? "" : "changed most · ";
        title.textContent = `Layer ${shown.layer}, head ${shown.head}`;
        note.textContent = `${found}change ${number(shown.change)} bit`;
        caption.textContent = picture.caption;
        el.classList.toggle("tl-unchosen", !shown.chosen);
        row.show(chosen.name);
        for (const one of views) one.el.hidden = one !== chosen;
        return picture.draw();
      };
    },
  };
}
