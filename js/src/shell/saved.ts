// An explorer as Python wrote it into a page: its store.

import type { Manifest, Mark } from "../contract/contract.ts";
import { localModel } from "../core/local.ts";
import type { Slide } from "../core/moment.ts";
import type { Changed } from "../core/options.ts";
import type { Selection } from "../core/selection.ts";
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
