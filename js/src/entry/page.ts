// The offline page: the same store and panels over blocks written into the page.

import type { PanelKind } from "../contract/contract.ts";
import { reasonOf } from "../core/load.ts";
import { whenIdle } from "../core/schedule.ts";
import { fromAddress, toAddress } from "../core/selection.ts";
import { Store } from "../core/store.ts";
import { embeddedText, h } from "../draw/dom.ts";
import { mount } from "../shell/mount.ts";
import { type Saved, savedModel } from "../shell/saved.ts";
import { embedded } from "../sources/recording.ts";
import { asking, sayFigure } from "./figure.ts";

interface Page extends Saved {
  /** Whether it opens as a presentation. */
  present?: boolean;
  kind: PanelKind;
  /** Blocks that could be had, where a program has opened it to be drawn. */
  draws?: string[];
}

async function open(): Promise<void> {
  const page: Page = JSON.parse(embeddedText("twinlens-page"));
  const blocks = await embedded(embeddedText("twinlens-blocks"), page.missing);
  const drawing = page.draws && asking(blocks, page.draws);
  const { signal } = new AbortController();
  const model = savedModel(page);
  const store = new Store(model, drawing ?? blocks, signal);
  const el = h("main");
  document.body.append(el);
  document.body.classList.add("twinlens-page");
  followAddress(store, signal);
  const presenting = page.present || location.hash === PRESENT;
  const mounted = mount(store, page.kind, el, signal, { presenting });
  // In another page it leaves the focus where it is, and has the theme that it is told.
  if (parent === window) el.querySelector<HTMLElement>(".twinlens")?.focus();
  else followTheme((theme) => model.set("theme", theme));
  await mounted;
  if (drawing) await sayFigure(drawing);
}

/** A page that holds this one is asked for its theme, and may tell it again. */
function followTheme(set: (theme: string) => void): void {
  addEventListener("message", ({ data }) => {
    if (data?.theme === "light" || data?.theme === "dark") set(data.theme);
  });
  parent.postMessage({ twinlens: "theme" }, "*");
}

/** The address that opens a page as a presentation. */
const PRESENT = "#present";
/** Steps that follow each other faster are one entry of the history, in milliseconds. */
const STEP = 700;

/** What is seen stands in the address; the way back through the history works. */
function followAddress(store: Store, signal: AbortSignal): void {
  const start = store.moment;
  const go = () => {
    if (location.hash !== PRESENT) store.restore(fromAddress(location.hash, start));
  };
  let shown = location.hash.slice(1);
  let last = Number.NEGATIVE_INFINITY;
  const later = whenIdle(signal);
  const follow = () => {
    if (store.presentation) return;
    const address = toAddress(store.moment, start);
    if (address === shown) return;
    shown = address;
    const now = performance.now();
    const step = now - last > STEP ? "pushState" : "replaceState";
    last = now;
    try {
      history[step](null, "", `#${address}`);
    } catch {
      // A page inside another one may have no address of its own.
    }
  };
  // The picture comes first.
  store.subscribe(() => later(follow), signal);
  addEventListener(
    "popstate",
    () => {
      shown = location.hash.slice(1);
      go();
    },
    { signal },
  );
  if (location.hash) go();
}

open().catch((error: unknown) => {
  document.body.append(h("p", { role: "alert" }, reasonOf(error)));
});
