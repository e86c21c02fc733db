// The page of a notebook: its explorers, and their panels where the notebook shows them.

import type { PanelKind } from "../contract/contract.ts";
import { reasonOf } from "../core/load.ts";
import { h } from "../draw/dom.ts";
import { mount } from "../shell/mount.ts";
import { type Saved, savedStore } from "../shell/saved.ts";
import { embedded } from "../sources/recording.ts";

const { signal } = new AbortController();

/** Mount all panels of one explorer over one store, so that they stay linked. */
async function open(state: HTMLElement): Promise<void> {
  const explorer = state.dataset.explorer ?? "";
  const blocks = document.querySelector(`[data-blocks="${explorer}"]`)?.textContent ?? "";
  const places = [...document.querySelectorAll<HTMLElement>(`[data-shows="${explorer}"]`)];
  try {
    const saved: Saved = JSON.parse(state.textContent ?? "");
    const store = savedStore(saved, await embedded(blocks, saved.missing), signal);
    for (const el of places) await mount(store, el.dataset.kind as PanelKind, el, signal);
  } catch (error) {
    for (const el of places) el.append(h("p", { role: "alert" }, reasonOf(error)));
  }
}

for (const state of document.querySelectorAll<HTMLElement>("script[data-explorer]"))
  void open(state);
