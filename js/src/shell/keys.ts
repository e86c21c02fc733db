// The keys that work wherever the focus is.

import type { Store } from "../core/store.ts";
import { listen, taken } from "../draw/dom.ts";

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
