// Keeping views: what is seen now, with a caption, as the next slide of the story.

import type { Store } from "../core/store.ts";
import { button, h, listen } from "../draw/dom.ts";
import { popover } from "../draw/layer.ts";

export function keepView(store: Store, root: HTMLElement, signal: AbortSignal): HTMLElement {
  const caption = h("input", { type: "text", class: "tl-keep-text" });
  const notes = h("textarea", { class: "tl-keep-text", rows: 2 });
  const list = h("ol", { class: "tl-kept" });
  const keep = button("keep", () => add(), signal);
  const form = h(
    "form",
    { class: "tl-keep" },
    h("label", {}, "caption ", caption),
    h("label", {}, "notes for the speaker ", notes),
    keep,
    list,
  );
  const sheet = popover("keep this view", "keep this view", [form], signal);
  const add = () => {
    const said = caption.value.trim() || titleOf(root);
    const slide = { caption: said, notes: notes.value.trim(), state: store.moment };
    store.setSlides([...store.slides, slide]);
    caption.value = "";
    notes.value = "";
  };
  listen(form, "submit", { signal }, (event) => {
    event.preventDefault();
    add();
  });
  let drawn = "";
  const draw = () => {
    const now = JSON.stringify(store.slides);
    if (now === drawn) return;
    drawn = now;
    list.replaceChildren(
      ...store.slides.map((slide, i) => {
        const go = button(slide.caption, () => store.restore(slide.state), signal, {
          class: "tl-link",
        });
        const drop = () => store.setSlides(store.slides.filter((_, place) => place !== i));
        const away = button("×", drop, signal, { "aria-label": `forget view ${i + 1}` });
        return h("li", {}, go, " ", away);
      }),
    );
  };
  draw();
  store.subscribe(draw, signal);
  return sheet.el;
}

/** What the panel in sight says of itself. */
function titleOf(root: HTMLElement): string {
  const titles = root.querySelectorAll(".tl-desk > .tl-slot:not([hidden]) h2");
  return [...titles].at(-1)?.textContent ?? "";
}
