// Tabs: a row of names of which one is chosen, and the one sheet that it shows.

import { h, listen, setAttribute, taken } from "./dom.ts";

export interface Tab<T extends string> {
  value: T;
  label: string;
}

export interface Tabs<T extends string> {
  /** The row of names. */
  bar: HTMLElement;
  /** The sheet under it; its content is the caller's. */
  sheet: HTMLElement;
  readonly value: T;
  show(value: T): void;
}

/** The first tab is chosen at the start; `onPick` is called when the user chooses another. */
export function tabs<T extends string>(
  label: string,
  choices: readonly Tab<T>[],
  signal: AbortSignal,
  onPick: (value: T) => void,
): Tabs<T> {
  const all = choices.map(({ value, label }) =>
    h("button", { type: "button", role: "tab", class: "tl-tab", "data-tab": value }, label),
  );
  const bar = h("div", { class: "tl-flow tl-tabs", role: "tablist", "aria-label": label }, ...all);
  const sheet = h("div", { class: "tl-sheet-of-tab", role: "tabpanel" });
  let chosen = choices[0]!.value;
  const show = (value: T) => {
    chosen = value;
    for (const [i, tab] of all.entries()) {
      const on = choices[i]!.value === value;
      setAttribute(tab, "aria-selected", String(on));
      setAttribute(tab, "tabindex", on ? 0 : -1);
      if (on) sheet.setAttribute("aria-label", choices[i]!.label);
    }
  };
  const pick = (at: number) => {
    const { value } = choices[at]!;
    all[at]!.focus();
    if (value === chosen) return;
    show(value);
    onPick(value);
  };
  for (const [i, tab] of all.entries()) listen(tab, "click", { signal }, () => pick(i));
  listen(bar, "keydown", { signal }, (event) => {
    const offered = all.filter((tab) => !tab.hidden);
    const at = offered.indexOf(event.target as HTMLButtonElement);
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const last = offered.length - 1;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    taken(event);
    pick(all.indexOf(offered[(to + offered.length) % offered.length]!));
  });
  show(chosen);
  return {
    bar,
    sheet,
    get value() {
      return chosen;
    },
    show,
  };
}
