// Mounting: a themed root, the keys that work everywhere, and one panel or all of them. On the
// dashboard models, answers, findings and tokens stay in sight, the other panels below take turns.

import { PANELS, type PanelKind } from "../contract/contract.ts";
import { DESK } from "../core/options.ts";
import type { Store } from "../core/store.ts";
import { h } from "../draw/dom.ts";
import { surface } from "../draw/theme.ts";
import { tooltip } from "../draw/tooltip.ts";
import { MAKERS } from "../panels/index.ts";
import { deskOf, makeDesk } from "./desk.ts";
import { type Place, runPanel } from "./frame.ts";
import { type Buttons, makeHeader } from "./header.ts";
import { helpCard, listenToKeys } from "./help.ts";
import { keepView, presenter } from "./present.ts";
import { searchCard } from "./search.ts";

/**
 * Mount a panel or the dashboard; resolves after the first picture, ends with `signal`.
 *
 * `between` is awaited in front of each panel of the dashboard, where a page has to stay quick.
 */
export async function mount(
  store: Store,
  kind: PanelKind,
  el: HTMLElement,
  signal: AbortSignal,
  options: { presenting?: boolean; between?: () => Promise<void> } = {},
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
  const help = helpCard(root, ending);
  const search = searchCard(store, root, ending);
  const present = presenter(store, root, kind === "dashboard" ? deskOf(store) : [], ending);
  root.append(help.el, search.el, present.el);
  const does = { help: help.toggle, search: search.open, present: present.toggle };
  listenToKeys(root, store, does, ending);
  if (options.presenting) present.toggle();
  const fill = async (mine: AbortSignal) => {
    const here = { ...setting, signal: mine };
    if (kind !== "dashboard") return runPanel(kind, MAKERS[kind], { el: content }, here);
    const buttons = { ...does, keep: keepView(store, root, mine) };
    const { el: board, arrange, place, ask } = dashboard(store, buttons, mine);
    content.replaceChildren(board);
    arrange();
    const names = Object.keys(MAKERS) as (keyof typeof MAKERS)[];
    const drawn: Promise<void>[] = [];
    for (const name of names) {
      if (options.between) await options.between();
      if (mine.aborted) return;
      drawn.push(runPanel(name, MAKERS[name], place(name), here));
    }
    await Promise.all(drawn);
    ask();
  };
  return filledAnew(store, content, fill, ending);
}

/** With the dial at another place all is made anew: nothing of the model before stays on screen. */
function filledAnew(
  store: Store,
  content: HTMLElement,
  fill: (signal: AbortSignal) => Promise<void>,
  ending: AbortSignal,
): Promise<void> {
  let { place } = store;
  let mine = new AbortController();
  const start = () => fill(AbortSignal.any([ending, mine.signal]));
  const follow = async () => {
    if (store.place === place) return;
    ({ place } = store);
    mine.abort();
    mine = new AbortController();
    const { signal } = mine;
    const turning = DIAL.find((control) => content.querySelector(`${control}:focus`));
    content.replaceChildren();
    await start();
    if (turning && !signal.aborted) content.querySelector<HTMLElement>(turning)?.focus();
  };
  store.subscribe(() => void follow(), ending);
  return start();
}

/** What keeps the focus: the dial, and what it turns. */
const DIAL = [".tl-dial", ".tl-dial-part select"];

export interface Dashboard {
  el: HTMLElement;
  /** Look at the room there is, once it is in the page. */
  arrange(): void;
  /** Where a panel goes. */
  place(name: Exclude<PanelKind, "dashboard">): Place;
  /** Ask for what can wait until the panels are there. */
  ask(): void;
}

export function dashboard(store: Store, buttons: Buttons, signal: AbortSignal): Dashboard {
  const header = makeHeader(store, buttons, signal);
  const findings = h("div", { class: "tl-slot tl-slot-findings" });
  const strip = h("div", { class: "tl-slot tl-slot-strip" });
  const follow = () => {
    el.dataset.layout = desk.layout;
    el.toggleAttribute("data-fits", desk.fits);
  };
  const desk = makeDesk(store, () => follow(), signal);
  const el = h(
    "div",
    { class: isFramed() ? "tl-dashboard tl-framed" : "tl-dashboard" },
    header.el,
    findings,
    strip,
    desk.el,
  );
  follow();
  store.subscribe(follow, signal);
  return {
    el,
    arrange() {
      desk.arrange();
      follow();
    },
    place(name) {
      const slot = DESK.find((panel) => panel === name);
      if (!slot) return { el: findings };
      const shown = () => !desk.slots[slot].hidden;
      // The tokens stand apart: they follow the selection whatever is shown below.
      return name === "saliency"
        ? { el: desk.slots[slot], strip }
        : { el: desk.slots[slot], shown };
    },
    ask: header.ask,
  };
}

/** In a frame, such as an output of a notebook, whose height may follow from ours. */
function isFramed(): boolean {
  return window.parent !== window;
}
