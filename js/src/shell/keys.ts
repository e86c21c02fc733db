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
  listen(root, "keydown", { signal }, (event) => {
    if ((event.target as HTMLElement).matches("input, select, textarea")) return;
    const undoing = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
    if (event.altKey || ((event.ctrlKey || event.metaKey) && !undoing)) return;
    switch (event.key) {
      case "Escape":
        store.stepBack();
        break;
      case "z":
        store.undo();
        break;
      case "Z":
        store.redo();
        break;
      case "p":
      case "P":
        does.present();
        break;
      case "?":
        does.help();
        break;
      case "/":
        does.search();
        break;
      default:
        return;
    }
    taken(event); // the notebook has keys of its own
  });
}
