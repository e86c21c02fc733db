// A caption in two levels: one plain sentence, and how what is shown was computed.

import { h } from "./dom.ts";
import { explained } from "./glossary.ts";
import { popover } from "./popover.ts";

export interface Said {
  /** One plain sentence or two. */
  caption: string;
  /** The measure, its formula, and what it does not say. */
  how?: string;
}

export interface CaptionLine {
  el: HTMLElement;
  draw(said: Said): void;
}

export function captionLine(signal: AbortSignal): CaptionLine {
  const plain = h("p", { class: "tl-plain" });
  const text = h("div", { class: "tl-how-text" });
  const more = popover("how computed", "how it was computed", [text], signal, {
    class: "tl-link tl-how",
  });
  const el = h("div", { class: "tl-caption" }, plain, more.el);
  let shown = "";
  return {
    el,
    draw({ caption, how = "" }) {
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
