// Into one head: a title, tabs, and what the chosen tab shows of it.

import { keys } from "../../contract/contract.ts";
import { type Got, type Need, optional, reasonOf } from "../../core/load.ts";
import type { HeadTab } from "../../core/options.ts";
import type { State } from "../../core/state.ts";
import { h } from "../../draw/dom.ts";
import { number } from "../../draw/format.ts";
import { captionLine } from "../../draw/glossary.ts";
import { saveButtons } from "../../draw/snapshot.ts";
import { tabs } from "../../draw/tabs.ts";
import type { Picture, Setting } from "../../shell/frame.ts";
import { type ShownHead, shownHead } from "./data.ts";

type HeadPicture = Pick<Picture, "caption" | "how" | "table" | "draw">;

/** One way to look at a head; `needs` and `picture` are those of a panel. */
export interface HeadView {
  name: HeadTab;
  label: string;
  el: HTMLElement;
  needs(state: State, got: Got, shown: ShownHead): readonly Need[];
  picture(state: State, got: Got, shown: ShownHead): HeadPicture;
}

export function headDetail({ store, signal }: Setting, views: HeadView[]) {
  const title = h("h3", { class: "tl-title" });
  const note = h("span", { class: "tl-note tl-aside" });
  let drawn: HeadPicture | null = null;
  const snapshot = {
    name: "head",
    about: () => [title.textContent, drawn?.caption, drawn?.how].filter(Boolean).join(". "),
    table: () => drawn?.table?.() ?? [],
  };
  const failed = (error: unknown) => note.replaceChildren(reasonOf(error));
  const caption = captionLine(
    signal,
    saveButtons(snapshot, () => el, failed, signal),
  );
  const row = tabs(
    "one head",
    views.map(({ name, label }) => ({ value: name, label })),
    signal,
    (tab) => store.setOptions("heads", { tab }),
  );
  row.sheet.append(caption.el, ...views.map((view) => view.el));
  const el = h(
    "div",
    { class: "tl-head-detail" },
    h("div", { class: "tl-heading" }, title, note),
    row.bar,
    row.sheet,
  );
  const viewOf = ({ options }: State) =>
    views.find(({ name }) => name === options.heads.tab) ?? views[0]!;
  return {
    el,
    needs(state: State, got: Got): Need[] {
      const shown = shownHead(state, got);
      const change = optional(keys.headChange());
      return shown ? [...change, ...viewOf(state).needs(state, got, shown)] : change;
    },
    /** How to draw what the chosen tab shows; the place is empty where no head is known. */
    picture(state: State, got: Got): Picture["draw"] {
      const shown = shownHead(state, got);
      if (!shown) return () => el.classList.add("tl-gone");
      const chosen = viewOf(state);
      const picture = chosen.picture(state, got, shown);
      return () => {
        el.classList.remove("tl-gone");
        el.classList.toggle("tl-unchosen", !shown.chosen);
        const most = shown.chosen ? "" : "changed most · ";
        title.textContent = `Layer ${shown.layer}, head ${shown.head}`;
        note.textContent = `${most}change ${number(shown.change)} bit`;
        drawn = picture;
        caption.draw(picture);
        row.show(chosen.name);
        for (const view of views) view.el.hidden = view !== chosen;
        return picture.draw();
      };
    },
  };
}
