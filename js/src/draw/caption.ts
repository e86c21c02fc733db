// A caption in two levels: one plain sentence, and how what is shown was computed.

import { h } from "./dom.ts";
import { explained } from "./glossary.ts";
import { popover } from "./layer.ts";

export interface Said {
  /** One plain sentence or two. */
  caption: string;
  /** The measure, its formula, and what it does not say. */
  how?: string;
}

/** `extra` stands under what is said, such as the buttons that save. */
export function captionLine(signal: AbortSignal, ...extra: HTMLElement[]) {
  const plain = h("p", { class: "tl-plain" });
  const text = h("div", { class: "tl-how-text" });
  const label = extra.length ? "how computed · save" : "how computed";
  const more = popover(label, "how it was computed", [text, ...extra], signal, {
    class: "tl-link tl-how",
  });
  const el = h("div", { class: "tl-caption" }, plain, more.el);
  let shown = "";
  return {
    el,
    draw({ caption, how = "" }: Said) {
      const now = JSON.stringify([caption, how]);
      if (now === shown) return;
      shown = now;
      plain.replaceChildren(...explained(caption));
      text.replaceChildren(h("p", {}, ...explained(caption)), h("p", {}, ...explained(how)));
      more.el.hidden = how === "";
      el.hidden = caption === "" && how === "";
    },
  };
}
