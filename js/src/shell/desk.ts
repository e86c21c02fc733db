// The desk: panels that take turns below the tokens, one at a time, two side by side, or all.

import { keys, SIDES } from "../contract/contract.ts";
import { DESK, type DeskPanel, type Layout, shownIn } from "../core/options.ts";
import type { State } from "../core/state.ts";
import type { Store } from "../core/store.ts";
import { h, onResize, picker, setAttribute } from "../draw/dom.ts";
import { tabs } from "../draw/tabs.ts";

const LABELS: Record<DeskPanel, string> = {
  saliency: "Matrix",
  carried: "Parts",
  update: "Update",
  heads: "Heads",
  concepts: "Concepts",
  overview: "Layers",
};
const LAYOUTS: readonly { value: Layout; label: string }[] = [
  { value: "auto", label: "view: auto" },
  { value: "tabs", label: "view: one" },
  { value: "pair", label: "view: two" },
  { value: "trio", label: "view: three" },
  { value: "grid", label: "view: all" },
];
/** On narrower screens the page scrolls. */
const NARROW = 580;
/** Pixels from which two panels stand side by side, and from which a third has room. */
const WIDE = 1000;
const WIDEST = 1500;
const TALL = 900;

/** Panels that have no turn: they are always in sight. */
const ALWAYS: Record<Exclude<Layout, "auto">, readonly DeskPanel[]> = {
  tabs: [],
  pair: ["saliency"],
  trio: ["saliency", "carried"],
  grid: ["saliency"],
};

/** What a panel cannot do without, if it is not in every page: all blocks that say something of it. */
const FIRST: Partial<Record<DeskPanel, readonly string[]>> = {
  update: [keys.update()], // takes long, so that few pages hold it
  heads: SIDES.map((side) => keys.headSink(side)), // some families have none
  concepts: [keys.componentChange(), keys.rotation()], // nor feed-forward neurons
};

/** Panels there is something to see of. */
export function deskOf(state: State): readonly DeskPanel[] {
  if (!state.closed) return DESK;
  return DESK.filter((name) => FIRST[name]?.some((key) => state.has(key)) ?? true);
}

export interface Desk {
  el: HTMLElement;
  slots: Record<DeskPanel, HTMLElement>;
  /** How the panels stand now. */
  readonly layout: Exclude<Layout, "auto">;
  /** Whether they take turns in the height of the screen. */
  readonly fits: boolean;
  /** Look at the room there is. */
  arrange(): void;
}

/** `arranged` is called where the layout changes by itself, after the panels' places. */
export function makeDesk(store: Store, arranged: () => void, signal: AbortSignal): Desk {
  const slots = {} as Desk["slots"];
  for (const name of DESK) slots[name] = h("div", { class: `tl-slot tl-slot-${name}` });
  const row = tabs<DeskPanel>(
    "panels",
    DESK.map((value) => ({ value, label: LABELS[value] })),
    signal,
    (tab) => store.setOptions("dashboard", shownIn(tab)),
  );
  const layouts = picker<Layout>("How many panels are shown", signal, (layout) =>
    store.setOptions("dashboard", { layout }),
  );
  layouts.update(LAYOUTS, "auto");
  const bar = h("div", { class: "tl-flow tl-desk-bar" }, row.bar, layouts.el);
  const el = h("div", { class: "tl-desk" }, bar, ...Object.values(slots));
  const tabOf = (name: DeskPanel) => row.bar.querySelector<HTMLElement>(`[data-tab=${name}]`)!;

  let layout: Desk["layout"] = "tabs";
  let width = 0;
  const arrange = () => {
    const { layout: wanted, tab, beside } = store.options.dashboard;
    layout = wanted === "auto" ? fitting(width) : wanted;
    if (el.closest(".tl-slides")) layout = "tabs";
    const shown = shownPanels(store, layout);
    for (const name of DESK) setAttribute(slots[name], "hidden", !shown.includes(name));
    el.dataset.layout = layout;
    const offered = deskOf(store);
    const always = ALWAYS[layout];
    for (const name of DESK) {
      const inRow = offered.includes(name) && !always.includes(name);
      setAttribute(tabOf(name), "hidden", !inRow);
    }
    setAttribute(row.bar, "hidden", layout === "grid");
    row.show(layout === "tabs" ? tab : layout === "trio" ? third(beside) : beside);
    layouts.update(LAYOUTS, wanted);
  };
  const fits = () => layout !== "grid" && width >= NARROW;
  arrange();
  store.subscribe(arrange, signal);
  onResize(el, signal, () => {
    width = el.clientWidth;
    const before = [layout, fits()].join();
    arrange();
    if ([layout, fits()].join() === before) return;
    arranged();
    store.touch(); // panels that came into sight run
  });
  return {
    el,
    slots,
    get layout() {
      return layout;
    },
    get fits() {
      return fits();
    },
    arrange() {
      width = el.clientWidth;
      arrange();
    },
  };
}

function shownPanels(state: State, layout: Desk["layout"]): readonly DeskPanel[] {
  const { tab, beside } = state.options.dashboard;
  const shown: Record<Desk["layout"], readonly DeskPanel[]> = {
    grid: deskOf(state),
    trio: ["saliency", "carried", third(beside)],
    pair: ["saliency", beside],
    tabs: [tab],
  };
  return shown[layout];
}

/** Beside the matrix and what carries it. */
const third = (beside: DeskPanel): DeskPanel => (beside === "carried" ? "heads" : beside);

function fitting(width: number): Desk["layout"] {
  if (width < WIDE) return "tabs";
  return width < WIDEST || innerHeight < TALL ? "pair" : "trio";
}
