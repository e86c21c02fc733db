// What canvases show: painted at device pixel ratio, and once more wherever it is to be kept.

import { onIdle } from "../core/schedule.ts";
import { once } from "../maths/memo.ts";

/** What painters use of a canvas, and what a vector picture has to offer them. */
export type Drawing = Pick<
  CanvasRenderingContext2D,
  | "fillStyle"
  | "strokeStyle"
  | "globalAlpha"
  | "lineWidth"
  | "imageSmoothingEnabled"
  | "fillRect"
  | "strokeRect"
  | "beginPath"
  | "moveTo"
  | "lineTo"
  | "stroke"
> & { drawImage(image: HTMLCanvasElement, x: number, y: number, w: number, h: number): void };
export type Painter = (drawing: Drawing) => void;

const PAINTERS = new WeakMap<Element, Painter>();
/** Canvases that are out of sight. */
const UNSEEN = new WeakSet<Element>();
const observer = once(
  () =>
    new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        UNSEEN[isIntersecting ? "delete" : "add"](target);
      }
    }),
);

/**
 * Size a canvas in CSS pixels and paint it, where there is a browser to paint with: now, or once
 * there is time where it is out of sight.
 */
export function paint(
  canvas: HTMLCanvasElement,
  width: number,
  height: number,
  painter: Painter,
): void {
  if (!PAINTERS.has(canvas)) observer().observe(canvas);
  PAINTERS.set(canvas, painter);
  const ratio = globalThis.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== h) canvas.height = h;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const work = () => {
    const drawing = canvas.getContext("2d");
    if (!drawing || PAINTERS.get(canvas) !== painter) return; // it may be painted otherwise by now
    drawing.setTransform(ratio, 0, 0, ratio, 0, 0);
    drawing.clearRect(0, 0, width, height);
    painter(drawing);
  };
  if (UNSEEN.has(canvas)) onIdle(work);
  else work();
}

/** What paints a canvas. */
export function painterOf(canvas: Element): Painter | undefined {
  return PAINTERS.get(canvas);
}

/** A copy of an element, whose canvases know what paints them. */
export function copyOf(el: HTMLElement): HTMLElement {
  const copy = el.cloneNode(true) as HTMLElement;
  const copies = copy.querySelectorAll("canvas");
  for (const [i, canvas] of [...el.querySelectorAll("canvas")].entries()) {
    const painter = painterOf(canvas);
    if (painter) PAINTERS.set(copies[i]!, painter);
  }
  return copy;
}
