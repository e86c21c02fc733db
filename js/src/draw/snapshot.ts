// A panel as a picture: its title, caption and scales with it, without its controls.

import { h } from "./dom.ts";

/** Left out of a picture. */
const APART =
  ".tl-controls, .tl-popover, .tl-stepper, .tl-message, .tl-badge-line, .tl-zoom, .tl-button, [hidden]";
/** Pixels of the picture for one of the screen. */
const SHARP = 3;

export async function asPng(section: HTMLElement): Promise<Blob> {
  const { width, height, text } = asSvg(section);
  const image = new Image(width, height);
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = h("canvas", { width: width * SHARP, height: height * SHARP });
  const drawing = canvas.getContext("2d")!;
  drawing.scale(SHARP, SHARP);
  drawing.drawImage(image, 0, 0);
  return new Promise((done, fail) => {
    canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error("The picture is too large."))));
  });
}

/** The panel as it is seen, inside an SVG; canvases become images, texts stay texts. */
function asSvg(section: HTMLElement): { width: number; height: number; text: string } {
  const clone = section.cloneNode(true) as HTMLElement;
  const twins = clone.querySelectorAll("*");
  for (const [i, one] of [...section.querySelectorAll<HTMLElement>("*")].entries()) {
    const canvases = one.matches("canvas, .tl-chart") ? pictureOf(one) : null;
    if (canvases) twins[i]!.replaceWith(canvases);
  }
  for (const one of clone.querySelectorAll(APART)) one.remove();
  const root = section.closest<HTMLElement>(".twinlens")!;
  const { width } = section.getBoundingClientRect();
  const height = Math.max(section.scrollHeight, section.getBoundingClientRect().height);
  const style = h("style", {}, `${styles(section)} .tl-matrix { overflow: visible; }`);
  const page = h("div", { class: root.className, "data-theme": root.dataset.theme }, style, clone);
  page.classList.remove("tl-slides");
  page.style.cssText = `width:${width}px;min-height:${height}px;padding:8px`;
  const [w, t] = [Math.ceil(width + 16), Math.ceil(height + 16)];
  const inner = new XMLSerializer().serializeToString(page);
  const text = `<svg xmlns="http://www.w3.org/2000/svg" width="${w}" height="${t}"><foreignObject width="100%" height="100%">${inner}</foreignObject></svg>`;
  return { width: w, height: t, text };
}

/** What is drawn on the canvases of an element, also inside shadow roots, as one image. */
function pictureOf(el: HTMLElement): HTMLImageElement | null {
  const frame = el.getBoundingClientRect();
  const canvases = el instanceof HTMLCanvasElement ? [el] : deep(el);
  if (!canvases.length || frame.width === 0) return null;
  const all = h("canvas", {
    width: Math.ceil(frame.width * SHARP),
    height: Math.ceil(frame.height * SHARP),
  });
  const drawing = all.getContext("2d");
  if (!drawing) return null;
  drawing.scale(SHARP, SHARP);
  drawing.imageSmoothingEnabled = false;
  for (const canvas of canvases) {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    if (width * height > 0) {
      drawing.drawImage(canvas, left - frame.left, top - frame.top, width, height);
    }
  }
  const image = h("img", { src: all.toDataURL() });
  image.style.cssText = `display:block;width:${frame.width}px;height:${frame.height}px`;
  return image;
}

function deep(root: HTMLElement | ShadowRoot): HTMLCanvasElement[] {
  return [...root.querySelectorAll<HTMLElement>("*")].flatMap((el) => [
    ...(el instanceof HTMLCanvasElement ? [el] : []),
    ...(el.shadowRoot ? deep(el.shadowRoot) : []),
  ]);
}

/** Our rules, wherever the host has put them. */
function styles(el: HTMLElement): string {
  const root = el.getRootNode() as Document | ShadowRoot;
  const sheets = [...root.styleSheets, ...root.adoptedStyleSheets, ...document.styleSheets];
  const texts = sheets.map((sheet) => {
    try {
      return [...sheet.cssRules].map((rule) => rule.cssText).join("\n");
    } catch {
      return ""; // of another origin
    }
  });
  return texts.find((text) => text.includes("--tl-space")) ?? "";
}
