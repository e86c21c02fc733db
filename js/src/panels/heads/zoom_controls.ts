// Zooming into the maps: a dragged rectangle, plus and minus, and the way back.

import { boxStyle, button, h, listen, taken } from "../../draw/dom.ts";
import type { Part } from "../../maths/zoom.ts";
import { between, holding, isWhole, moved, whole, zoomed } from "../../maths/zoom.ts";

export interface Cell {
  width: number;
  height: number;
}

interface Maps {
  /** Size of a cell on the screen. */
  cell(): Cell;
  /** What keys zoom around; null: the middle. */
  centre(): [number, number] | null;
  redraw(): void;
}

export interface Zoom {
  el: HTMLElement;
  readonly part: Part;
  /** Fit what is shown to maps of this length, and say it. */
  update(length: number): Part;
  /** Move so that a row is in view. */
  hold(row: number): void;
}

/** Pixels a pointer moves before a press becomes a drag. */
const DRAG = 5;
const STEP = 0.6;

export function zoomControls(area: HTMLElement, signal: AbortSignal, maps: Maps): Zoom {
  let length = 0;
  let part: Part = whole(0);
  const show = (next: Part) => {
    part = next;
    maps.redraw();
  };
  const by = (factor: number) => {
    const middle: [number, number] = [(part.top + part.bottom) / 2, (part.left + part.right) / 2];
    show(zoomed(part, factor, maps.centre() ?? middle, length));
  };
  const closer = button("+", () => by(STEP), signal, { "aria-label": "zoom in", title: "+" });
  const farther = button("−", () => by(1 / STEP), signal, { "aria-label": "zoom out", title: "−" });
  const all = button("whole", () => show(whole(length)), signal, { title: "0" });
  const note = h("span", { class: "tl-zoom-note tl-quiet", role: "status" });
  const el = h("div", { class: "tl-flow tl-zoom" }, farther, closer, all, note);

  listen(area, "keydown", { signal }, (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const zoomedIn = !isWhole(part, length);
    if (event.key === "+" || event.key === "=") by(STEP);
    else if (event.key === "-") by(1 / STEP);
    else if (event.key === "0") show(whole(length));
    else if (event.key === "ArrowLeft" && zoomedIn) show(moved(part, -1, length));
    else if (event.key === "ArrowRight" && zoomedIn) show(moved(part, 1, length));
    else return;
    taken(event);
  });

  drag(area, signal, (canvas, from, to) => {
    const box = canvas.getBoundingClientRect();
    const cell = maps.cell();
    const at = ([x, y]: Point): [number, number] => [
      inside(part.top + Math.floor((y - box.top) / cell.height), part.top, part.bottom),
      inside(part.left + Math.floor((x - box.left) / cell.width), part.left, part.right),
    ];
    show(between(at(from), at(to), length));
  });

  return {
    el,
    get part() {
      return part;
    },
    update(wanted) {
      if (wanted !== length) part = whole(wanted);
      length = wanted;
      const full = isWhole(part, length);
      all.disabled = farther.disabled = full;
      note.textContent = full
        ? "drag a rectangle to zoom"
        : `rows ${part.top}–${part.bottom - 1}, columns ${part.left}–${part.right - 1} of ${length}`;
      return part;
    },
    hold(row) {
      if (row >= 0 && row < length) part = holding(part, row);
    },
  };
}

const inside = (value: number, from: number, to: number) => Math.min(Math.max(value, from), to - 1);

type Point = [x: number, y: number];

/** Call `done` after a rectangle was drawn on a canvas with the mouse; no click follows. */
function drag(
  area: HTMLElement,
  signal: AbortSignal,
  done: (canvas: HTMLElement, from: Point, to: Point) => void,
): void {
  const lasso = h("i", { class: "tl-lasso" });
  let canvas: HTMLCanvasElement | null = null;
  let from: Point = [0, 0];
  let dragged = false;
  const end = () => {
    canvas = null;
    lasso.remove();
  };
  listen(area, "pointerdown", { signal }, (event) => {
    dragged = false;
    if (event.button !== 0 || event.pointerType === "touch") return;
    canvas = (event.target as HTMLElement).closest("canvas");
    from = [event.clientX, event.clientY];
  });
  listen(area, "pointermove", { signal }, ({ clientX, clientY, pointerId }) => {
    if (!canvas) return;
    const far = Math.max(Math.abs(clientX - from[0]), Math.abs(clientY - from[1])) > DRAG;
    if (!dragged && far) {
      dragged = true;
      canvas.setPointerCapture(pointerId);
      canvas.parentElement!.append(lasso);
    }
    if (!dragged) return;
    const box = canvas.getBoundingClientRect();
    const [x, y] = [
      inside(clientX, box.left, box.right + 1),
      inside(clientY, box.top, box.bottom + 1),
    ];
    const [left, top] = [Math.min(x, from[0]) - box.left, Math.min(y, from[1]) - box.top];
    lasso.style.cssText = boxStyle(left, top, Math.abs(x - from[0]), Math.abs(y - from[1]));
  });
  listen(area, "pointerup", { signal }, (event) => {
    const on = canvas;
    end();
    if (on && dragged) done(on, from, [event.clientX, event.clientY]);
  });
  listen(area, "pointercancel", { signal }, end);
  listen(area, "click", { signal, capture: true }, (event) => {
    if (dragged) event.stopImmediatePropagation();
    dragged = false;
  });
}
