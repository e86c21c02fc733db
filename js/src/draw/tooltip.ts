// One floating box per mounted root: numbers of the mark under the pointer or the focus.

import { h, listen } from "./dom.ts";

/** As in the style sheet. */
const WIDEST = 313;

export interface Tip {
  title: string;
  lines: string[];
}

export interface Tooltip {
  show(tip: Tip, x: number, y: number): void;
  hide(): void;
}

export function tooltip(root: HTMLElement, signal: AbortSignal): Tooltip {
  const box = h("div", { class: "tl-tip", role: "tooltip", hidden: true });
  const place = h("div", { class: "tl-tips" }, box);
  root.append(place);
  signal.addEventListener("abort", () => place.remove());
  return {
    show(tip, x, y) {
      const frame = root.getBoundingClientRect();
      box.replaceChildren(
        h("b", {}, h("bdi", {}, tip.title)),
        ...tip.lines.map((line) => h("div", {}, line)),
      );
      box.hidden = false;
      // From the sides that are nearest, so that the box need not be measured: that would have the
      // page laid out with every step of the pointer.
      const across = x - frame.left;
      const most = Math.min(WIDEST, frame.width * 0.9);
      const left = Math.min(across + 12, frame.width - most);
      const onLeft = across + 12 + most > frame.width && across - 12 > most;
      box.style.left = onLeft ? "auto" : `${Math.max(left, 0)}px`;
      box.style.right = onLeft ? `${frame.width - across + 12}px` : "auto";
      const below = y < innerHeight / 2;
      box.style.top = below ? `${y - frame.top + 18}px` : "auto";
      box.style.bottom = below ? "auto" : `${frame.bottom - y + 10}px`;
    },
    hide() {
      box.hidden = true;
    },
  };
}

/** Show a tip for the elements inside `area` that `describe` knows. */
export function tips(
  area: HTMLElement,
  tip: Tooltip,
  signal: AbortSignal,
  describe: (target: HTMLElement, x: number, y: number) => Tip | null,
): void {
  const move = (event: PointerEvent) => {
    const lines = describe(event.target as HTMLElement, event.clientX, event.clientY);
    if (!lines) return tip.hide();
    tip.show(lines, event.clientX, event.clientY);
    event.stopPropagation(); // an area around this one knows nothing of it
  };
  listen(area, "pointermove", { signal }, move);
  listen(area, "pointerleave", { signal }, () => tip.hide());
  /** Whether it is there for what has the focus; else the pointer says when it goes. */
  let focused = false;
  // What a click brings up is not to be covered.
  listen(area, "click", { signal }, () => tip.hide());
  listen(area, "focusin", { signal }, (event) => {
    const target = event.target as HTMLElement;
    if (!target.matches(":focus-visible")) return;
    const { left, bottom } = target.getBoundingClientRect();
    const lines = describe(target, left, bottom);
    if (!lines) return;
    tip.show(lines, left, bottom - 12);
    focused = true;
  });
  listen(area, "focusout", { signal }, () => {
    if (focused) tip.hide();
    focused = false;
  });
}
