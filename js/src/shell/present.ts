// Presenting: one panel a slide over the whole screen, and the story as a row of slides; a view is kept,
// with a caption, as its next one.

import { type DeskPanel, shownIn } from "../core/options.ts";
import type { Moment } from "../core/selection.ts";
import type { Store } from "../core/store.ts";
import { button, h, listen, taken } from "../draw/dom.ts";
import { popover } from "../draw/layer.ts";

/** `panels`: the slides where nothing is kept; of a panel by itself there is one. */
export function presenter(
  store: Store,
  root: HTMLElement,
  panels: readonly DeskPanel[],
  signal: AbortSignal,
) {
  const caption = h("p", { class: "tl-slide-caption", role: "status" });
  const mark = h("span", { class: "tl-slide-mark" });
  const notes = h("div", { class: "tl-slide-notes", hidden: true });
  const clock = h("b", {});
  const said = h("span", {});
  notes.append(clock, said);
  const el = h("div", { class: "tl-flow tl-slide", hidden: true }, caption, mark, notes);
  let at = 0;
  let before: Moment | null = null;
  let begun = 0;
  let ticking: ReturnType<typeof setInterval> | undefined;

  const count = () => store.slides.length || panels.length;
  const show = (to: number) => {
    at = Math.min(Math.max(to, 0), Math.max(count() - 1, 0));
    const slide = store.slides[at];
    if (slide) store.restore(slide.state);
    else if (panels[at]) store.setOptions("dashboard", shownIn(panels[at]!));
    caption.textContent = slide?.caption ?? "";
    caption.hidden = !slide?.caption;
    mark.textContent = count() > 1 ? `${at + 1} / ${count()}` : "";
    said.textContent = slide?.notes ?? "";
  };
  const tick = () => {
    const seconds = Math.floor((performance.now() - begun) / 1000);
    clock.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  };
  const follow = () => {
    const on = store.presentation && before !== null;
    if (on || before === null) return;
    // Ended, here or from Python.
    const moment = before;
    before = null;
    clearInterval(ticking);
    el.hidden = true;
    root.classList.remove("tl-slides");
    if (document.fullscreenElement === root) void document.exitFullscreen();
    store.restore(moment);
  };
  const begin = () => {
    before = store.moment;
    begun = performance.now();
    ticking = setInterval(tick, 1000);
    tick();
    el.hidden = false;
    root.classList.add("tl-slides");
    store.setPresentation(true);
    const { tab } = store.options.dashboard;
    show(store.slides.length ? 0 : Math.max(panels.indexOf(tab), 0));
    // Refused without a gesture, and where the host does not let us: the window has to do.
    root.requestFullscreen?.().catch(() => {});
    root.focus();
  };
  const end = () => {
    store.setPresentation(false);
    follow();
  };
  store.subscribe(follow, signal);
  listen(root, "fullscreenchange", { signal }, () => {
    if (!document.fullscreenElement && before) end();
  });
  listen(root, "keydown", { signal, capture: true }, (event) => {
    if (!before || event.altKey || event.ctrlKey || event.metaKey) return;
    const to = {
      ArrowRight: at + 1,
      ArrowDown: at + 1,
      PageDown: at + 1,
      " ": at + 1,
      ArrowLeft: at - 1,
      ArrowUp: at - 1,
      PageUp: at - 1,
      Home: 0,
      End: count() - 1,
    }[event.key];
    if (to !== undefined) show(to);
    else if (event.key === "Escape") end();
    else if (event.key.toLowerCase() === "n") notes.hidden = !notes.hidden;
    else return;
    taken(event);
  });
  signal.addEventListener("abort", () => clearInterval(ticking));
  return { el, toggle: () => (before ? end() : begin()) };
}

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
