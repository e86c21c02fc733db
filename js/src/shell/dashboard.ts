// The dashboard: models, answers, findings and tokens stay in sight, the other panels below them
// take turns; all linked by one store.

import type { PanelKind } from "../contract/contract.ts";
import { DESK } from "../core/options.ts";
import type { Store } from "../core/store.ts";
import { h } from "../draw/dom.ts";
import { makeDesk } from "./desk.ts";
import type { Place } from "./frame.ts";
import { type Buttons, makeHeader } from "./header.ts";

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
