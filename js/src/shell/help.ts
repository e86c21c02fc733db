// The help card: what the marks mean, which keys do what, and the words that need explaining; and the
// keys that work wherever the focus is.

import type { Store } from "../core/store.ts";
import { button, h, listen, taken } from "../draw/dom.ts";
import { glossary } from "../draw/glossary.ts";
import { layer } from "../draw/layer.ts";

const KEYS: [string, string][] = [
  ["click", "select a token, a head, a unit or a layer; again to let go"],
  ["← → ↑ ↓", "along tokens, heads and layers, units; ↑ ↓ along tokens in the maps"],
  ["Esc", "one step back: unit, head, layer, token"],
  ["z, Shift + z", "undo, redo"],
  ["/", "search tokens and words"],
  ["in the matrix", "arrows: cell by cell; click a name for a row or a column"],
  ["+ − 0, drag", "in the maps: closer, farther, whole; a rectangle"],
  ["drag, Shift + ← →", "over the answer: take several tokens together"],
  ["Shift + click", "in a map: select the column's token instead of the row's"],
  ["P", "present: one panel a slide; ← → or a clicker step, N shows notes and clock"],
  ["?", "this card"],
];

const MARKS: [string, string][] = [
  ["blue, orange", "base, tuned; both on one printed scale"],
  ["blue to orange", "tuned − base: blue where base is larger"],
  ["hatched, solid", "an estimate; the measured effect of an intervention"],
  ["hollow, ring", "negative"],
  ["thick line", "under an answer token: the models differ there by more than 1 nat"],
  ["shaded, grey", "the instruction; template and special tokens"],
  ["numbers", "positions, layers and heads count from 0, as in Python"],
];

export function helpCard(root: HTMLElement, signal: AbortSignal) {
  const table = (rows: [string, string][]) =>
    h("dl", {}, ...rows.flatMap(([term, text]) => [h("dt", {}, term), h("dd", {}, text)]));
  const close = button("close", () => card.close(), signal);
  const el = h(
    "div",
    { class: "tl-card tl-help", role: "dialog", "aria-label": "help" },
    h("h2", { class: "tl-title" }, "How to read this"),
    table(MARKS),
    h("h2", { class: "tl-title" }, "Keys"),
    table(KEYS),
    h("h2", { class: "tl-title" }, "Words"),
    glossary(),
    h(
      "p",
      { class: "tl-caption" },
      "What happens inside the models for an answer token is read at the position that predicts it, one earlier.",
    ),
    close,
  );
  const card = layer(el, el, signal, (open) => (open ? el : root).focus());
  return { el, toggle: () => (card.isOpen ? card.close() : card.open()) };
}

export interface Does {
  help(): void;
  search(): void;
  present(): void;
}

export function listenToKeys(
  root: HTMLElement,
  store: Store,
  does: Does,
  signal: AbortSignal,
): void {
  const acts: Record<string, () => void> = {
    Escape: () => store.stepBack(),
    z: () => store.undo(),
    Z: () => store.redo(),
    p: does.present,
    P: does.present,
    "?": does.help,
    "/": does.search,
  };
  listen(root, "keydown", { signal }, (event) => {
    if ((event.target as HTMLElement).matches("input, select, textarea")) return;
    const undoing = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
    if (event.altKey || ((event.ctrlKey || event.metaKey) && !undoing)) return;
    const act = acts[event.key];
    if (!act) return;
    act();
    taken(event); // the notebook has keys of its own
  });
}
