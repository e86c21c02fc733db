// A button and the sheet that it opens: above all else, gone with Escape or a click elsewhere.

import { button, h } from "./dom.ts";

export interface Popover {
  button: HTMLButtonElement;
  sheet: HTMLElement;
  /** Both; the sheet takes no place. */
  el: HTMLElement;
  close(): void;
}

export function popover(
  label: string,
  name: string,
  content: readonly (HTMLElement | string)[],
  signal: AbortSignal,
  props: Record<string, string> = {},
): Popover {
  const sheet = h(
    "div",
    {
      class: "tl-sheet",
      role: "dialog",
      "aria-label": name,
      popover: "auto",
      tabindex: -1,
      hidden: true,
    },
    ...content,
  );
  const close = () => {
    if (sheet.hidden) return;
    sheet.hidden = true;
    sheet.hidePopover?.();
    opener.setAttribute("aria-expanded", "false");
  };
  const open = () => {
    sheet.hidden = false;
    sheet.showPopover?.();
    opener.setAttribute("aria-expanded", "true");
    place(sheet, opener);
    (sheet.querySelector<HTMLElement>("button, input, select") ?? sheet).focus();
  };
  const opener = button(label, () => (sheet.hidden ? open() : close()), signal, {
    "aria-expanded": "false",
    "aria-haspopup": "dialog",
    ...props,
  });
  const el = h("span", { class: "tl-popover" }, opener, sheet);
  el.addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "Escape" || sheet.hidden) return;
      close();
      opener.focus();
      event.preventDefault();
      event.stopPropagation(); // the selection stays
    },
    { signal },
  );
  document.addEventListener(
    "pointerdown",
    (event) => {
      if (!event.composedPath().includes(el)) close();
    },
    { signal },
  );
  // The browser may close it by itself, as when another one opens.
  sheet.addEventListener(
    "toggle",
    (event) => {
      if ((event as ToggleEvent).newState === "closed") close();
    },
    { signal },
  );
  return { button: opener, sheet, el, close };
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
