// A range of neighbouring tokens: by dragging, by Shift and a click, by Shift and the arrow keys.

import { listen, taken } from "../../draw/dom.ts";
export interface RangeActions {
  /** Whether the button may start or end a range now. */
  allows(button: HTMLElement): boolean;
  /** The token from which Shift extends; undefined for the button itself. */
  anchor?(): number | undefined;
  /** While the range grows; it has more than one token or was meant as a range. */
  extend(from: number, to: number): void;
  /** When it is done: the pointer is up. */
  finish?(from: number, to: number): void;
  /** Dragging with a finger scrolls, unless this is set. */
  touch?(): boolean;
}

const position = (button: HTMLElement) => Number(button.dataset.token);

/** Watch the tokens inside `area`; a click that ends a drag goes no further. */
export function tokenRange(area: HTMLElement, signal: AbortSignal, actions: RangeActions): void {
  let from: number | null = null;
  let to = -1;
  let dragged = false;

  const under = (event: PointerEvent): HTMLElement | null => {
    // A finger keeps sending its events to where it began.
    const root = area.getRootNode() as Document | ShadowRoot;
    const target = root.elementFromPoint?.(event.clientX, event.clientY) ?? event.target;
    const button = (target as HTMLElement | null)?.closest<HTMLElement>("[data-token]") ?? null;
    return button && area.contains(button) && actions.allows(button) ? button : null;
  };
  const tokenOf = (event: Event): HTMLElement | null => {
    const button = (event.target as HTMLElement).closest<HTMLElement>("[data-token]");
    return button && actions.allows(button) ? button : null;
  };

  listen(area, "pointerdown", { signal }, (event) => {
    dragged = false;
    from = null;
    if (event.button !== 0 || event.shiftKey) return;
    if (event.pointerType === "touch" && !actions.touch?.()) return;
    const button = tokenOf(event);
    if (button) from = to = position(button);
  });
  listen(area, "pointermove", { signal }, (event) => {
    if (from === null) return;
    const button = under(event);
    if (!button || position(button) === to) return;
    to = position(button);
    // From here on the drag is this row's, wherever the pointer goes.
    if (!dragged) area.setPointerCapture?.(event.pointerId);
    dragged = true;
    actions.extend(from, to);
  });
  const release = () => {
    if (from === null) return;
    const [first, last] = [from, to];
    from = null;
    actions.finish?.(first, last);
  };
  listen(area.ownerDocument, "pointerup", { signal }, release);
  listen(area.ownerDocument, "pointercancel", { signal }, () => {
    from = null;
  });
  listen(area, "click", { signal, capture: true }, (event) => {
    if (dragged) {
      dragged = false;
      taken(event);
      return;
    }
    const button = event.shiftKey ? tokenOf(event) : null;
    if (!button) return;
    event.stopPropagation();
    actions.extend(actions.anchor?.() ?? position(button), position(button));
  });
  listen(area, "keydown", { signal, capture: true }, (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const button = event.shiftKey && step ? tokenOf(event) : null;
    if (!button || !step) return;
    taken(event);
    const row = [...area.querySelectorAll<HTMLElement>("[data-token]")].filter(
      (token) => actions.allows(token) && token.parentElement === button.parentElement,
    );
    const next = row[row.indexOf(button) + step];
    if (!next) return;
    next.focus();
    actions.extend(actions.anchor?.() ?? position(button), position(next));
  });
}
