// Arrow keys over a set of buttons of which one is in the tab order.

import { clicks, listen, setAttribute, taken } from "./dom.ts";

/** Step through `buttons` with the arrow keys; `go` is called with the one stepped to. */
export function roving(
  area: HTMLElement,
  buttons: () => HTMLElement[],
  signal: AbortSignal,
  go: (button: HTMLElement) => void,
): void {
  listen(area, "keydown", { signal }, (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const all = buttons().filter((button) => button.dataset.collapsed !== "rest");
    const at = all.indexOf(event.target as HTMLElement);
    if (at < 0) return;
    const next = target(all, at, event.key);
    if (!next) return;
    taken(event);
    next.focus();
    go(next);
  });
}

/**
 * Buttons of `area` that are chosen by a click, or by stepping to them with the arrow keys; `choose`
 * is told whether it was a click, which may also let go of what is chosen. Gives the buttons.
 */
export function choosable(
  area: HTMLElement,
  selector: string,
  signal: AbortSignal,
  choose: (button: HTMLElement, clicked: boolean) => void,
): () => HTMLElement[] {
  const buttons = () => [...area.querySelectorAll<HTMLElement>(selector)];
  clicks(area, selector, signal, (button) => choose(button, true));
  roving(area, buttons, signal, (button) => choose(button, false));
  return buttons;
}

export const isPressed = (button: HTMLElement) => button.getAttribute("aria-pressed") === "true";

/** Make one button of each group the one that Tab reaches: a group may scroll by itself. */
export function reachable(buttons: readonly HTMLElement[], chosen: HTMLElement | undefined): void {
  let parent: Element | null = null;
  let group: Element | null = null;
  const groups = buttons.map((button) => {
    // Tokens of a long text have one parent: it is not looked for five hundred times.
    if (button.parentElement !== parent) group = button.closest("[role=group]");
    parent = button.parentElement;
    return group;
  });
  const stops = new Map<Element | null, HTMLElement>();
  for (const [i, button] of buttons.entries()) {
    const first = !stops.has(groups[i]!) && button.dataset.collapsed !== "rest";
    if (first || button === chosen) stops.set(groups[i]!, button);
  }
  for (const [i, button] of buttons.entries()) {
    setAttribute(button, "tabindex", stops.get(groups[i]!) === button ? 0 : -1);
  }
}

function target(all: HTMLElement[], at: number, key: string): HTMLElement | undefined {
  if (key === "ArrowDown") return nearest(all, at, 1);
  if (key === "ArrowUp") return nearest(all, at, -1);
  return all[{ ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[key] ?? -1];
}

/** The button in the next line (or the one before) that is nearest sideways. */
function nearest(all: HTMLElement[], at: number, direction: 1 | -1): HTMLElement | undefined {
  const from = all[at]!.getBoundingClientRect();
  const middle = from.left + from.width / 2;
  let best: HTMLElement | undefined;
  let line = Number.NaN;
  let distance = Number.POSITIVE_INFINITY;
  for (let i = at + direction; i >= 0 && i < all.length; i += direction) {
    const box = all[i]!.getBoundingClientRect();
    if ((box.top - from.top) * direction <= from.height / 2) continue;
    if (Number.isNaN(line)) line = box.top;
    if (Math.abs(box.top - line) > from.height / 2) break;
    const away = Math.abs(box.left + box.width / 2 - middle);
    if (away < distance) [best, distance] = [all[i], away];
  }
  return best;
}
