// A page that is opened by a program: it draws one panel, or says which blocks it is short of.

import { h } from "../draw/dom.ts";
import { sayDrawn } from "../draw/download.ts";
import { snapshotOf } from "../draw/snapshot.ts";
import { APART, asVector } from "../draw/vector.ts";
import type { Source } from "../sources/source.ts";

/** Milliseconds for what is drawn after the picture. */
const AFTERWARDS = 400;

export interface Asking extends Source {
  /** Blocks that were asked for and are not in the page. */
  asked: Set<string>;
}

/** A source that could have more blocks than it has: those `known`. */
export function asking(source: Source, known: readonly string[]): Asking {
  const all = new Set(known);
  const asked = new Set<string>();
  return {
    asked,
    has: (key) => source.has(key) || all.has(key),
    get(key, signal, progress) {
      if (!source.has(key) && all.has(key)) asked.add(key);
      return source.get(key, signal, progress);
    },
  };
}

/** Say what the one panel of the page shows, once it is there. */
export async function sayFigure({ asked }: Asking): Promise<void> {
  // What is left out leaves no room.
  document.head.append(h("style", {}, `:is(${APART}) { display: none !important }`));
  await new Promise((resolve) => setTimeout(resolve, AFTERWARDS));
  const section = document.querySelector<HTMLElement>("[data-panel]")!;
  const snapshot = snapshotOf(section);
  if (asked.size > 0) return sayDrawn({ asked: [...asked] });
  if (section.dataset.state !== "ready" || !snapshot) {
    return sayDrawn({ error: section.querySelector(".tl-message")?.textContent ?? "" });
  }
  const title = section.querySelector("h2")?.textContent ?? "";
  sayDrawn({ ...(await asVector(section, snapshot.about())), rows: snapshot.table(), title });
}
