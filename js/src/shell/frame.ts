// The frame of every panel: title, caption, picture; loading, progress, errors; newest run wins.
// And the selections that are one step away, so that their blocks can be there before they are chosen.

import type { Key, PanelKind } from "../contract/contract.ts";
import { SOON } from "../core/cache.ts";
import { turnedText } from "../core/direction.ts";
import { type Got, Loads, type Need, reasonOf } from "../core/load.ts";
import { perFrame } from "../core/schedule.ts";
import { change, type Selection, selectionText } from "../core/selection.ts";
import { State } from "../core/state.ts";
import type { Store } from "../core/store.ts";
import { button, fill, h, onResize, setAttribute } from "../draw/dom.ts";
import { captionLine, type Said, termTip } from "../draw/glossary.ts";
import { keep, saveButtons } from "../draw/snapshot.ts";
import type { Surface } from "../draw/theme.ts";
import { type Tooltip, tips } from "../draw/tooltip.ts";
import { isAbort, type Progress } from "../sources/source.ts";
import { turnIfLong } from "../sources/turn.ts";

/** A row of a table that is kept as a file. */
export type Row = (string | number)[];

/** How long nothing has to be chosen before what is nearby is fetched, in milliseconds. */
const IDLE = 300;

/** What one run leads to. */
export interface Picture extends Said {
  title: string;
  note?: string;
  /** What is drawn, as a table with a first row of names. */
  table?(): Row[];
  /**
   * Draw it, from what was read when it was made; called again when the size changes. A promise
   * is waited for: charts are embedded when they are first drawn.
   */
  draw(): void | Promise<void>;
}

/**
 * A panel says what it reads and which blocks it needs, apart from drawing; the frame does the
 * loading. `needs` and `picture` depend on their arguments alone, and on the colours of the page.
 */
export interface Panel {
  label: string;
  controls: HTMLElement[];
  body: HTMLElement;
  /** What stays in sight while other panels take turns; above the body where the panel is alone. */
  strip?: HTMLElement;
  /**
   * What the panel reads of the state beside its own options, as plain JSON: where it stays as it
   * was, a change is none of this panel's business and it does not run again.
   */
  reads(state: State): unknown;
  /**
   * The blocks of the picture. Asked again as blocks arrive, until it names nothing new: which
   * blocks these are may depend on what others hold.
   */
  needs(state: State, got: Got): readonly Need[];
  /** The picture, from blocks that are there; an error it throws is shown in its place. */
  picture(state: State, got: Got): Picture;
}

export interface Setting {
  surface: Surface;
  store: Store;
  tooltip: Tooltip;
  signal: AbortSignal;
}

export interface PanelSetting extends Setting {
  /** Run the panel again: something outside the state has changed, such as an exact effect. */
  refresh(): void;
}

export type MakePanel = (setting: PanelSetting) => Panel;

/** Where a panel stands. */
export interface Place {
  el: HTMLElement;
  /** Where its strip goes; with the rest where there is no such place. */
  strip?: HTMLElement;
  /** Whether it is in sight: a hidden panel does not run. */
  shown?(): boolean;
}

/** Says that tuned is not as it is, and takes it back. */
function turned(store: Store, signal: AbortSignal): HTMLElement | null {
  if (!store.place) return null;
  const back = () => store.setOptions("update", { scale: 1 });
  return button(`tuned: ${turnedText(store.options.update)}`, back, signal, {
    class: "tl-button tl-turned",
    title: "The dial of the panel Update is turned. Click to go back to tuned as it is (× 1).",
  });
}

/** Mount a panel into a place and keep it up to date; resolves after the first picture. */
export function runPanel(
  kind: PanelKind,
  make: MakePanel,
  { el, strip: apart, shown = () => true }: Place,
  setting: Setting,
): Promise<void> {
  const { surface, store, signal } = setting;
  const panel = make({ ...setting, refresh: () => void run() });
  const title = h("h2", { class: "tl-title" });
  const note = h("span", { class: "tl-note tl-aside" });
  const snapshot = {
    name: kind,
    about: () => [picture?.title, picture?.caption, picture?.how].filter(Boolean).join(" "),
    table: () => picture?.table?.() ?? [],
  };
  const failed = (error: unknown) => fail(reasonOf(error));
  const caption = captionLine(
    signal,
    saveButtons(snapshot, () => section, failed, signal),
  );
  const message = h("div", { class: "tl-message", hidden: true });
  const section = h(
    "section",
    { class: `tl-panel tl-${kind}`, "data-panel": kind, "data-state": "loading" },
    h(
      "header",
      { class: "tl-flow tl-head" },
      h("div", { class: "tl-heading" }, title, note, kind !== "update" && turned(store, signal)),
      h("div", { class: "tl-flow tl-controls" }, ...panel.controls),
    ),
    caption.el,
    h("div", { class: "tl-stage" }, !apart && panel.strip, panel.body, message),
  );
  keep(section, snapshot);
  const { strip } = panel;
  if (apart && strip) {
    apart.append(strip);
    signal.addEventListener("abort", () => strip.remove());
  }
  const settle = (state: "loading" | "ready" | "error") => {
    section.dataset.state = state;
    if (strip) strip.dataset.state = state;
  };
  section.setAttribute("aria-label", panel.label);
  tips(section, setting.tooltip, signal, termTip);
  el.append(section);
  signal.addEventListener("abort", () => section.remove());

  let current = new AbortController();
  let picture: Picture | null = null;
  let loads = new Loads();
  let read = "";
  let width = 0;
  let drawnAt = 0;

  /** What is said already stays: it would be laid out anew, and read out again. */
  const say = (text: string, action: [string, () => void], role: "alert" | "status") => {
    if (message.textContent !== text + action[0]) {
      message.replaceChildren(h("span", {}, text), button(...action, signal));
      message.setAttribute("role", role);
    }
    message.hidden = false;
  };
  const fail = (text: string) => {
    settle("error");
    section.dataset.selection = selectionText(store.selection);
    say(text, ["Try again", () => void run()], "alert");
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
      say(text, ["Stop", stop], "status");
      message.dataset.progress = "";
    }
  };

  /** What the panel reads, to be compared. */
  const reading = () => {
    const options = (store.options as Partial<Record<PanelKind, unknown>>)[kind];
    return JSON.stringify([panel.reads(store), options, surface.palette.name, surface.scale]);
  };

  const run = async () => {
    current.abort();
    current = new AbortController();
    const { signal: mine } = current;
    settle("loading");
    let missing = "";
    const block = <T>(key: Key<T>) => store.block(key, mine, progress);
    const mineOnly = new Loads();
    loads = mineOnly;
    const gather = async () => {
      const needs = (got: Got) => panel.needs(store, got);
      missing = (await mineOnly.gather(needs, block, mine)) || missing;
    };
    try {
      read = reading();
      await gather();
      await turnIfLong(); // others may have drawn in this task
      mine.throwIfAborted();
      read = reading();
      const loaded = panel.picture(store, mineOnly.got);
      if (mine.aborted || signal.aborted) return;
      picture = loaded;
      fill(title, loaded.title);
      setAttribute(title, "title", loaded.title); // it may be cut
      fill(note, loaded.note);
      caption.draw(loaded);
      message.hidden = true;
      delete message.dataset.progress;
      const drawn = selectionText(store.selection);
      drawnAt = width;
      await loaded.draw();
      if (mine.aborted || signal.aborted) return;
      section.dataset.selection = drawn;
      section.toggleAttribute("data-partial", missing !== "");
      if (missing) fail(missing);
      else settle("ready");
      if (!store.closed) setTimeout(() => void lookAhead(mine, nearby(store)), IDLE);
    } catch (error) {
      if (mine.aborted || signal.aborted || isAbort(error)) return;
      delete message.dataset.progress;
      section.removeAttribute("data-partial");
      fail(reasonOf(error));
    }
  };

  /** Fetch what one more step would need, as far as it comes quickly; the next run ends it. */
  const lookAhead = async (mine: AbortSignal, states: readonly State[], within?: number) => {
    const quick = <T>(key: Key<T>) =>
      store.quick(key, within)
        ? store.block(key, mine)
        : Promise.reject(new Error("it may take long"));
    for (const state of states) {
      if (mine.aborted || !shown()) return;
      await new Loads().gather((got) => panel.needs(state, got), quick, mine).catch(() => {});
    }
  };

  /** Run again where a change concerns this panel, or where the last run came to no picture. */
  const changed = () => {
    if (!shown()) return;
    const { state } = section.dataset;
    if (state === "error" || reading() !== read) return void run();
    if (state === "loading") return;
    const isNew = ({ key }: Need) => loads.got(key).state === "loading";
    if (panel.needs(store, loads.got).some(isNew)) return void run();
    section.dataset.selection = selectionText(store.selection);
  };
  store.subscribe(changed, signal);
  let rested = new AbortController();
  const fetchAhead = () => {
    rested.abort();
    rested = new AbortController();
    if (store.closed || section.dataset.state !== "ready") return;
    const mine = AbortSignal.any([current.signal, rested.signal]);
    void lookAhead(mine, [choosing(store, store.pointedAt)], SOON);
  };
  store.rests.addEventListener("rest", fetchAhead, { signal });
  signal.addEventListener("abort", () => current.abort());
  const again = perFrame(() => {
    if (width !== drawnAt && section.dataset.state === "ready") {
      drawnAt = width;
      void picture?.draw();
    }
  }, signal);
  // Asking for the width between changes would have the page laid out each time.
  onResize(section, signal, ([entry]) => {
    width = Math.round(entry?.contentRect.width ?? 0);
    if (width !== drawnAt) again();
  });
  if (shown()) return run();
  section.dataset.state = "hidden";
  return Promise.resolve();
}

/** The state as it would be with another selection; what follows from it follows from that one. */
function beside(state: State, selection: Selection): State {
  return new Proxy(state, {
    get(target, name, receiver) {
      if (name === "selection") return selection;
      if (name in State.prototype) return Reflect.get(target, name, receiver);
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** The state to which choosing something leads. */
export const choosing = (state: State, patch: Partial<Selection>): State =>
  beside(state, change(state.selection, patch));

/** The states to which one step leads: to the next token, head or layer, and to the one before. */
export function nearby(state: State): State[] {
  const { selection, manifest } = state;
  const { heads, layers } = manifest.pair;
  const counts = {
    token: Math.max(state.length("base"), state.length("tuned")),
    ...(selection.head < 0 ? { layer: layers } : { head: heads }),
  };
  const near: State[] = [];
  for (const step of [1, -1]) {
    for (const [what, count] of Object.entries(counts)) {
      const chosen = selection[what as keyof typeof counts];
      const next = chosen + step;
      if (chosen < 0 || next < 0 || next >= count) continue;
      near.push(choosing(state, { [what]: next }));
    }
  }
  return near;
}
