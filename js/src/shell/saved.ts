// An explorer as Python wrote it into a page: its state, without a kernel behind it, and its store.

import type { Manifest, Mark } from "../contract/contract.ts";
import type { Changed } from "../core/options.ts";
import type { Selection, Slide } from "../core/selection.ts";
import { type Model, Store } from "../core/store.ts";
import type { Source } from "../sources/source.ts";

export interface Saved {
  manifest: Manifest;
  selection: Selection;
  method: string;
  marks?: Mark[] | null;
  /** How things are shown, by panel, as far as it is not as at the start. */
  options?: Changed;
  /** Kept views, the slides of its story. */
  slides?: Slide[];
  theme: string;
  missing: string[];
}

export function savedModel(saved: Saved): Model {
  return localModel({
    ...saved.selection,
    method: saved.method,
    marks: saved.marks ?? null,
    view: saved.options,
    slides: saved.slides ?? [],
    theme: saved.theme,
    presentation: false,
    _manifest: saved.manifest,
  });
}

export function savedStore(saved: Saved, source: Source, signal: AbortSignal): Store {
  return new Store(savedModel(saved), source, signal);
}

export function localModel(state: Record<string, unknown>): Model {
  const events = new EventTarget();
  return {
    get: (name) => state[name],
    set(name, value) {
      state[name] = value;
      events.dispatchEvent(new Event(`change:${name}`));
    },
    save_changes() {},
    on: (event, callback) => events.addEventListener(event, callback),
    off: (event, callback) => events.removeEventListener(event, callback),
  };
}
