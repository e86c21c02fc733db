// Panels in a page of their own for one test, and what tests do with them.

import { afterEach, expect, vi } from "vitest";
import type { Manifest, PanelKind } from "../src/contract/contract.ts";
import { selectionText } from "../src/core/selection.ts";
import { Store } from "../src/core/store.ts";
import { mount } from "../src/shell/mount.ts";
import type { Source } from "../src/sources/source.ts";
import { FakeModel, manifest, source } from "./fixture.ts";

/** Aborted after each test. */
export const ending: AbortController[] = [];
afterEach(() => {
  for (const controller of ending.splice(0)) controller.abort();
  document.body.replaceChildren();
});

export interface Mounted {
  store: Store;
  model: FakeModel;
  made: Manifest;
  root: HTMLElement;
  settled(): Promise<void>;
}

/** A panel or the dashboard over a made-up trace, once it is there. */
export async function show(
  kind: PanelKind,
  made = manifest(),
  from: Source = source(made),
  state: Record<string, unknown> = {},
): Promise<Mounted> {
  const controller = new AbortController();
  ending.push(controller);
  const all = kind === "dashboard" ? { view: { dashboard: { layout: "grid" } } } : {};
  const model = new FakeModel(made, { ...all, ...state });
  const store = new Store(model, from, controller.signal);
  const root = document.createElement("div");
  document.body.append(root);
  mount(store, kind, root, controller.signal).catch(() => {});
  const settled = () =>
    vi.waitFor(() => {
      const sections = [...root.querySelectorAll<HTMLElement>("[data-panel]")];
      expect(sections.length).toBeGreaterThan(0);
      for (const section of sections) {
        if (section.dataset.state === "hidden") continue;
        expect(section.dataset.state).not.toBe("loading");
        expect(section.dataset.selection).toBe(selectionText(store.selection));
      }
    }, 20_000);
  await settled();
  return { store, model, made, root, settled };
}

export const all = (root: HTMLElement, selector: string) => [
  ...root.querySelectorAll<HTMLElement>(selector),
];
export const numbers = (root: HTMLElement, selector: string) =>
  all(root, selector).map((element) => Number(element.dataset.value));
export const press = (element: Element, key: string) =>
  element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
