// Something above all else: gone with Escape, or with a click anywhere else.

export interface Layer {
  readonly isOpen: boolean;
  open(): void;
  close(): void;
}

/** `owner` is what a click in does not close it. */
export function layer(
  el: HTMLElement,
  owner: HTMLElement,
  changed: (open: boolean) => void,
  signal: AbortSignal,
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
  owner.addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "Escape" || el.hidden) return;
      close();
      event.preventDefault();
      event.stopPropagation(); // the selection stays
    },
    { signal },
  );
  document.addEventListener(
    "pointerdown",
    (event) => {
      if (!event.composedPath().includes(owner)) close();
    },
    { signal },
  );
  return {
    get isOpen() {
      return !el.hidden;
    },
    open: () => set(true),
    close,
  };
}
