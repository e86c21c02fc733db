// What is painted on a canvas as elements of an SVG.

import type { Drawing } from "./painted.ts";

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
