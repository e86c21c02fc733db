// The frame of every panel: title, caption, picture; loading, progress, errors; newest run wins.

import type { PanelKind } from "../contract/contract.ts";
import { perFrame } from "../core/schedule.ts";
import { selectionText } from "../core/selection.ts";
import type { Store } from "../core/store.ts";
import { button, h } from "../draw/dom.ts";
import type { Surface } from "../draw/theme.ts";
import type { Tooltip } from "../draw/tooltip.ts";
import { isAbort, type Progress } from "../sources/source.ts";

/** What a panel gets for one run. */
export interface View {
  store: Store;
  surface: Surface;
  signal: AbortSignal;
  /** A block of known form. */
  block<T>(key: string): Promise<T>;
  /** What the picture can do without: null where it fails, and the panel says why unless `quiet`. */
  optional<T>(wanted: Promise<T>, quiet?: boolean): Promise<T | null>;
  /** Run this panel again: something only it knows has changed. */
  refresh(): void;
}

/** What one run leads to; `draw` may be called again when the size changes. */
export interface Picture {
  title: string;
  note?: string;
  caption: string;
  draw(): void;
}

export interface Panel {
  label: string;
  controls: HTMLElement[];
  body: HTMLElement;
  load(view: View): Promise<Picture>;
}

export interface Setting {
  surface: Surface;
  store: Store;
  tooltip: Tooltip;
  signal: AbortSignal;
}

export type MakePanel = (setting: Setting) => Panel;

/** Mount a panel into an element and keep it up to date; resolves after the first picture. */
export function runPanel(
  kind: PanelKind,
  make: MakePanel,
  el: HTMLElement,
  setting: Setting,
): Promise<void> {
  const { surface, store, signal } = setting;
  const panel = make(setting);
  const title = h("h2", { class: "tl-title" });
  const note = h("span", { class: "tl-note" });
  const caption = h("p", { class: "tl-caption" });
  const message = h("div", { class: "tl-message", hidden: true });
  const section = h(
    "section",
    { class: `tl-panel tl-${kind}`, "data-panel": kind, "data-state": "loading" },
    h(
      "header",
      { class: "tl-head" },
      h("div", { class: "tl-heading" }, title, note),
      h("div", { class: "tl-controls" }, ...panel.controls),
    ),
    caption,
    h("div", { class: "tl-stage" }, panel.body, message),
  );
  section.setAttribute("aria-label", panel.label);
  el.append(section);
  signal.addEventListener("abort", () => section.remove());

  let current = new AbortController();
  let picture: Picture | null = null;

  const say = (text: string, action: HTMLButtonElement | null, alert: boolean) => {
    message.replaceChildren(h("span", {}, text), ...(action ? [action] : []));
    message.setAttribute("role", alert ? "alert" : "status");
    message.hidden = false;
  };
  const fail = (text: string) => {
    section.dataset.state = "error";
    section.dataset.selection = selectionText(store.selection);
    say(
      text,
      button("Try again", () => void run(), signal),
      true,
    );
  };
  const stop = () => {
    current.abort();
    fail("Stopped.");
  };
  const progress = (report: Progress) => {
    if (section.dataset.state !== "loading") return;
    const text = `${report.label || "computing"}: ${report.done} of ${report.total}`;
    if (message.dataset.progress !== undefined && !message.hidden) {
      message.firstElementChild!.textContent = text;
    } else {
      say(text, button("Stop", stop, signal), false);
      message.dataset.progress = "";
    }
  };

  const run = async () => {
    current.abort();
    current = new AbortController();
    const { signal: mine } = current;
    section.dataset.state = "loading";
    let missing = "";
    try {
      const loaded = await panel.load({
        store,
        surface,
        signal: mine,
        block: <T>(key: string) => store.block(key, mine, progress) as Promise<T>,
        optional: (wanted, quiet = false) =>
          wanted.catch((error: unknown) => {
            if (mine.aborted || isAbort(error)) throw error;
            if (!quiet) missing = reason(error);
            return null;
          }),
        refresh: () => void run(),
      });
      if (mine.aborted || signal.aborted) return;
      picture = loaded;
      title.textContent = loaded.title;
      note.textContent = loaded.note ?? "";
      caption.textContent = loaded.caption;
      message.hidden = true;
      delete message.dataset.progress;
      loaded.draw();
      section.dataset.selection = selectionText(store.selection);
      section.toggleAttribute("data-partial", missing !== "");
      if (missing) fail(missing);
      else section.dataset.state = "ready";
    } catch (error) {
      if (mine.aborted || signal.aborted || isAbort(error)) return;
      delete message.dataset.progress;
      section.removeAttribute("data-partial");
      fail(reason(error));
    }
  };

  store.subscribe(() => void run(), signal);
  signal.addEventListener("abort", () => current.abort());
  let width = 0;
  const resized = new ResizeObserver(
    perFrame(() => {
      if (section.clientWidth !== width && section.dataset.state === "ready") {
        width = section.clientWidth;
        picture?.draw();
      }
    }, signal),
  );
  resized.observe(section);
  signal.addEventListener("abort", () => resized.disconnect());
  return run();
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
