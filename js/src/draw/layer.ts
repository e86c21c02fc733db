// Something above all else: gone with Escape, or with a click anywhere else.

import { listen, taken } from "./dom.ts";
export interface Layer {
  readonly isOpen: boolean;
  open(): void;
  close(): void;
}

/** `owner` is what a click in does not close it. */
export function layer(
  el: HTMLElement,
  owner: HTMLElement,
  signal: AbortSignal,
  changed: (open: boolean) => void,
): Layer {
  el.hidden = true;
  el.tabIndex = -1;
  el.setAttribute("popover", "manual");
  const set = (open: boolean) => {
    if (el.hidden !== open) return;
    el.hidden = !open;
    if (open) el.showPopover?.();
    else el.hidePopover?.();
    changed(open);
  };
  const close = () => set(false);
  listen(owner, "keydown", { signal }, (event) => {
    if (event.key !== "Escape" || el.hidden) return;
    close();
    taken(event); // the selection stays
  });
  listen(document, "pointerdown", { signal }, (event) => {
    if (!event.composedPath().includes(owner)) close();
  });
  return {
    get isOpen() {
      return !el.hidden;
    },
    open: () => set(true),
    close,
  };
}
