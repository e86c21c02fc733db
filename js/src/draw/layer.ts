// Something above all else: gone with Escape, or with a click anywhere else. A button may open it.

import { button, h, listen, taken } from "./dom.ts";

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
  // Wherever the focus is: what had it may be gone.
  listen(document, "keydown", { signal, capture: true }, (event) => {
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

/** `el` is the button with the sheet, which takes no place. */
export function popover(
  label: string,
  name: string,
  content: readonly (HTMLElement | string)[],
  signal: AbortSignal,
  props: Record<string, string> = {},
) {
  const sheet = h("div", { class: "tl-sheet", role: "dialog", "aria-label": name }, ...content);
  const el = h("span", { class: "tl-popover" });
  const opener = button(label, () => (made.isOpen ? made.close() : made.open()), signal, {
    "aria-expanded": "false",
    "aria-haspopup": "dialog",
    ...props,
  });
  const made = layer(sheet, el, signal, (open) => {
    opener.setAttribute("aria-expanded", String(open));
    if (!open) {
      if (el.contains(document.activeElement)) opener.focus();
      return;
    }
    place(sheet, opener);
    (
      sheet.querySelector<HTMLElement>(":is(button, input, select, textarea):not([hidden])") ??
      sheet
    ).focus();
  });
  el.append(opener, sheet);
  return { el, close: made.close };
}

/** Under the button, inside the window. */
function place(sheet: HTMLElement, opener: HTMLElement): void {
  const from = opener.getBoundingClientRect();
  const { width, height } = sheet.getBoundingClientRect();
  const left = Math.min(from.right - width, innerWidth - width - 8);
  const under = from.bottom + 6;
  const top = under + height < innerHeight ? under : Math.max(from.top - height - 6, 8);
  sheet.style.left = `${Math.max(left, 8)}px`;
  sheet.style.top = `${top}px`;
}
