// What canvases show: painted at device pixel ratio, and once more wherever it is to be kept,
// as elements of an SVG too.

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
/** Canvases that are out of sight where the page is scrolled to; not those in what is hidden. */
const UNSEEN = new WeakSet<Element>();
const observer = once(
  () =>
    new IntersectionObserver((entries) => {
      for (const { target, isIntersecting, boundingClientRect } of entries) {
        const unseen = !isIntersecting && boundingClientRect.width > 0;
        UNSEEN[unseen ? "add" : "delete"](target);
      }
    }),
);

/**
 * Size a canvas in CSS pixels and paint it, where there is a browser to paint with: now, or once
 * there is time where it is out of sight. `beside` writes what stands beside it, at the same time.
 */
export function paint(
  canvas: HTMLCanvasElement,
  width: number,
  height: number,
  painter: Painter,
  beside?: () => void,
): void {
  if (!PAINTERS.has(canvas)) observer().observe(canvas);
  PAINTERS.set(canvas, painter);
  const ratio = globalThis.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  const resized = canvas.width !== w || canvas.height !== h;
  if (resized) Object.assign(canvas, { width: w, height: h });
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const work = () => {
    if (PAINTERS.get(canvas) !== painter) return; // it may be painted otherwise by now
    beside?.();
    const drawing = canvas.getContext("2d");
    if (!drawing) return;
    drawing.setTransform(ratio, 0, 0, ratio, 0, 0);
    drawing.clearRect(0, 0, width, height);
    painter(drawing);
  };
  if (UNSEEN.has(canvas) && !resized) onIdle(work);
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

/** Two decimals are a hundredth of a pixel. */
export const short = (value: number): string => String(Math.round(value * 100) / 100);

export class VectorDrawing implements Drawing {
  fillStyle: string | CanvasGradient | CanvasPattern = "#000";
  strokeStyle: string | CanvasGradient | CanvasPattern = "#000";
  globalAlpha = 1;
  lineWidth = 1;
  imageSmoothingEnabled = false;
  readonly parts: string[] = [];
  #path = "";

  fillRect(x: number, y: number, width: number, height: number): void {
    const box = `x="${short(x)}" y="${short(y)}" width="${short(width)}" height="${short(height)}"`;
    this.parts.push(`<rect ${box} fill="${this.fillStyle}"/>`);
  }

  strokeRect(x: number, y: number, width: number, height: number): void {
    const box = `x="${short(x)}" y="${short(y)}" width="${short(width)}" height="${short(height)}"`;
    this.parts.push(`<rect ${box} fill="none" ${this.#pen()}/>`);
  }

  beginPath(): void {
    this.#path = "";
  }

  moveTo(x: number, y: number): void {
    this.#path += `M${short(x)} ${short(y)}`;
  }

  lineTo(x: number, y: number): void {
    this.#path += `L${short(x)} ${short(y)}`;
  }

  stroke(): void {
    this.parts.push(`<path d="${this.#path}" fill="none" ${this.#pen()}/>`);
  }

  /** Every pixel a cell; neighbours of one colour in a row are one. */
  drawImage(image: HTMLCanvasElement, x: number, y: number, width: number, height: number): void {
    const { width: columns, height: rows } = image;
    const pixels = image.getContext("2d")?.getImageData(0, 0, columns, rows).data;
    if (!pixels) return;
    const [w, h] = [width / columns, height / rows];
    const colour = (i: number) => `rgb(${pixels.slice(i * 4, i * 4 + 3).join(" ")})`;
    for (let row = 0; row < rows; row++) {
      for (let from = 0; from < columns; ) {
        const own = colour(row * columns + from);
        let to = from + 1;
        while (to < columns && colour(row * columns + to) === own) to++;
        this.fillStyle = own;
        this.fillRect(x + from * w, y + row * h, (to - from) * w, h);
        from = to;
      }
    }
  }

  #pen(): string {
    return `stroke="${this.strokeStyle}" stroke-width="${this.lineWidth}" stroke-opacity="${this.globalAlpha}"`;
  }
}
