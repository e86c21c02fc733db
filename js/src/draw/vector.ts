// A part of the page as SVG, from what the browser has laid out: texts are texts, cells rectangles.

import { type Box, joined, layers, placed, seen, shadows, shrunk } from "./boxes.ts";
import { painterOf, short, VectorDrawing } from "./painted.ts";

/** Left out of a picture: what can only be used. */
export const APART =
  ".tl-controls, .tl-popover, .tl-stepper, .tl-message, .tl-badge-line, .tl-zoom, .tl-button, .tl-tabs, .tl-link, .tl-sr, .tl-cross, .tl-effect-controls, select, input, textarea, form, [hidden]";
/** Not cut where it is wider than its place: what says what is seen is read whole. */
const WHOLE = ".tl-matrix, .tl-plain, .tl-heading";
const MARGIN = 8;

/** A picture with its size in CSS pixels. */
export interface Vector {
  width: number;
  height: number;
  svg: string;
}

const CHARTS = new WeakMap<Element, () => Promise<string>>();

/** Say how a chart of another library gives its SVG. */
export function drawnBy(el: Element, svg: () => Promise<string>): void {
  CHARTS.set(el, svg);
}

/** `about` is what the picture says of itself to who cannot see it. */
export async function asVector(el: HTMLElement, about: string): Promise<Vector> {
  const charts = new Map<Element, string>();
  for (const chart of el.querySelectorAll(".tl-chart > *")) {
    const made = chart.clientHeight > 0 ? CHARTS.get(chart) : undefined;
    if (made) charts.set(chart, await made());
  }
  const writer = new Writer(el, charts);
  writer.element(el);
  const frame = el.getBoundingClientRect();
  const [left, top] = [frame.x - MARGIN, frame.y - MARGIN];
  const width = Math.ceil(Math.max(frame.right, writer.right) - left + MARGIN);
  const height = Math.ceil(Math.max(writer.bottom, frame.y) - top + MARGIN);
  const ground = getComputedStyle(el.closest(".twinlens") ?? el).backgroundColor;
  const svg = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">`,
    `<desc>${xml(about)}</desc><style>${writer.rules()}</style>`,
    `<rect width="${width}" height="${height}" fill="${ground}"/>`,
    `<g transform="translate(${short(-left)} ${short(-top)})">${writer.parts.join("\n")}</g></svg>`,
  ].join("\n");
  return { width, height, svg };
}

class Writer {
  readonly parts: string[] = [];
  // What is drawn may lie above the window, and left of it.
  right = Number.NEGATIVE_INFINITY;
  bottom = Number.NEGATIVE_INFINITY;
  readonly #root: Element;
  readonly #charts: ReadonlyMap<Element, string>;
  readonly #classes = new Map<string, string>();
  readonly #ascents = new Map<string, number>();
  #ids = 0;

  constructor(root: Element, charts: ReadonlyMap<Element, string>) {
    this.#root = root;
    this.#charts = charts;
  }

  rules(): string {
    return [...this.#classes].map(([rule, name]) => `.${name}{${xml(rule)}}`).join("");
  }

  element(el: HTMLElement): void {
    if (el.matches(APART)) return;
    const style = getComputedStyle(el);
    if (style.display === "none" || style.visibility === "hidden") return;
    const { transform, transformOrigin, opacity } = style;
    if (transform !== "none") {
      // Laid out for a moment as it is before it is turned.
      const inline = el.style.transform;
      el.style.transform = "none";
      const { x, y } = el.getBoundingClientRect();
      const [ox = 0, oy = 0] = transformOrigin.split(" ").map(Number.parseFloat);
      const [cx, cy] = [x + ox, y + oy].map(short);
      const { right, bottom } = this;
      this.#group(
        `transform="translate(${cx} ${cy}) ${transform} translate(${-cx!} ${-cy!})"`,
        () => this.#content(el, style),
      );
      el.style.transform = inline;
      // As far as it reaches once it is turned.
      [this.right, this.bottom] = [right, bottom];
      const content = document.createRange();
      content.selectNodeContents(el);
      for (const reached of [el, content]) this.#grow(reached.getBoundingClientRect());
    } else if (opacity !== "1") {
      this.#group(`opacity="${opacity}"`, () => this.#content(el, style));
    } else {
      this.#content(el, style);
    }
  }

  #group(attributes: string, content: () => void): void {
    this.parts.push(`<g ${attributes}>`);
    content();
    this.parts.push("</g>");
  }

  #content(el: HTMLElement, style: CSSStyleDeclaration): void {
    const box = el.getBoundingClientRect();
    if (style.display !== "contents") this.#surface(box, style);
    const painter = painterOf(el);
    const chart = this.#charts.get(el);
    if (painter) {
      const drawing = new VectorDrawing();
      painter(drawing);
      const at = `transform="translate(${short(box.x)} ${short(box.y)})"`;
      this.#group(`${at} shape-rendering="crispEdges"`, () => this.parts.push(...drawing.parts));
      this.#grow(box);
    } else if (chart) {
      this.#nested(parsed(chart), box);
    } else if (this.#isCut(el, style)) {
      const id = `clip${++this.#ids}`;
      this.parts.push(`<clipPath id="${id}">${rect(box, 'fill="#000"')}</clipPath>`);
      this.#grow(box);
      const { right, bottom } = this;
      this.#group(`clip-path="url(#${id})"`, () => this.#children(el, style));
      [this.right, this.bottom] = [right, bottom];
    } else {
      this.#children(el, style);
    }
  }

  #isCut(el: HTMLElement, { overflowX, overflowY }: CSSStyleDeclaration): boolean {
    if (el === this.#root || el.matches(WHOLE)) return false;
    const beyond = el.scrollWidth > el.clientWidth + 1 || el.scrollHeight > el.clientHeight + 1;
    return beyond && (overflowX !== "visible" || overflowY !== "visible");
  }

  #children(el: HTMLElement, style: CSSStyleDeclaration): void {
    const before = getComputedStyle(el, "::before").content;
    if (/^".+"$/.test(before)) this.#mark(before.slice(1, -1), el);
    for (const child of el.childNodes) {
      if (child instanceof Text) this.#text(child, style);
      else if (child instanceof SVGSVGElement) this.#figure(child);
      else if (child instanceof HTMLElement) this.element(child);
    }
  }

  /** Background, rules and rings. */
  #surface(box: Box, style: CSSStyleDeclaration): void {
    if (box.width <= 0 || box.height <= 0) return;
    const radius = Number.parseFloat(style.borderTopLeftRadius) || 0;
    const round =
      radius > 0 ? ` rx="${short(Math.min(radius, box.height / 2, box.width / 2))}"` : "";
    if (seen(style.backgroundColor)) {
      this.#rect(box, `fill="${style.backgroundColor}"${round}`);
    }
    this.#backgrounds(box, style);
    for (const { colour, inset, dx, dy, spread } of shadows(style.boxShadow)) {
      const by = inset ? spread / 2 : -spread / 2;
      const ring = `fill="none" stroke="${colour}" stroke-width="${spread}"${round}`;
      if (spread > 0) this.#rect(shrunk(box, by), ring);
      if (dx)
        this.#rect(
          { ...box, x: dx < 0 ? box.x + dx : box.x + box.width, width: Math.abs(dx) },
          `fill="${colour}"`,
        );
      if (dy)
        this.#rect(
          { ...box, y: dy < 0 ? box.y + dy : box.y + box.height, height: Math.abs(dy) },
          `fill="${colour}"`,
        );
    }
    this.#borders(box, style, round);
  }

  #borders(box: Box, style: CSSStyleDeclaration, round: string): void {
    const side = (name: "Top" | "Right" | "Bottom" | "Left") => {
      const width = Number.parseFloat(style[`border${name}Width`]) || 0;
      const [colour, kind] = [style[`border${name}Color`], style[`border${name}Style`]];
      if (!width || kind === "none" || kind === "hidden" || !seen(colour)) return null;
      const dash = {
        dashed: ` stroke-dasharray="${3 * width}"`,
        dotted: ` stroke-dasharray="${width}"`,
      };
      return {
        width,
        pen: `stroke="${colour}" stroke-width="${width}"${dash[kind as "dashed"] ?? ""}`,
      };
    };
    const [top, right, bottom, left] = [side("Top"), side("Right"), side("Bottom"), side("Left")];
    const { x, y, width, height } = box;
    if (top && [right, bottom, left].every((edge) => edge?.pen === top.pen)) {
      this.#rect(shrunk(box, top.width / 2), `fill="none" ${top.pen}${round}`);
      return;
    }
    const line = (edge: typeof top, x1: number, y1: number, x2: number, y2: number) => {
      if (!edge) return;
      const ends = `x1="${short(x1)}" y1="${short(y1)}" x2="${short(x2)}" y2="${short(y2)}"`;
      this.parts.push(`<line ${ends} ${edge.pen}/>`);
      this.#grow(box);
    };
    const half = (edge: typeof top) => (edge?.width ?? 0) / 2;
    line(top, x, y + half(top), x + width, y + half(top));
    line(bottom, x, y + height - half(bottom), x + width, y + height - half(bottom));
    line(left, x + half(left), y, x + half(left), y + height);
    line(right, x + width - half(right), y, x + width - half(right), y + height);
  }

  /** Ramps of colour, hatching of estimates, and rules and shades that cover a part. */
  #backgrounds(box: Box, style: CSSStyleDeclaration): void {
    const images = layers(style.backgroundImage);
    const sizes = layers(style.backgroundSize);
    const places = layers(style.backgroundPosition);
    for (const [i, image] of images.entries()) {
      const colours = [...image.matchAll(/(?:rgba?|color)\([^)]*\)/g)].map(([colour]) => colour);
      const [first, last] = [colours[0], colours.at(-1)];
      if (!first || !last) continue;
      const area = placed(box, sizes[i % sizes.length]!, places[i % places.length]!);
      if (area.width <= 0 || area.height <= 0) continue;
      const id = `paint${++this.#ids}`;
      if (image.startsWith("repeating")) {
        this.parts.push(
          `<pattern id="${id}" width="4" height="4" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="4" height="4" fill="${last}"/><rect width="2.2" height="4" fill="${first}"/></pattern>`,
        );
        this.#rect(area, `fill="url(#${id})"`);
      } else if (image.includes("calc(")) {
        // Edges alone.
        if (i === 0)
          this.#rect(shrunk(area, 0.65), `fill="none" stroke="${first}" stroke-width="1.3"`);
      } else if (colours.every((colour) => colour === first)) {
        this.#rect(area, `fill="${first}"`);
      } else {
        const stops = colours.map(
          (colour, at) =>
            `<stop offset="${short(at / (colours.length - 1))}" stop-color="${colour}"/>`,
        );
        this.parts.push(`<linearGradient id="${id}">${stops.join("")}</linearGradient>`);
        this.#rect(area, `fill="url(#${id})"`);
      }
    }
  }

  /** A text line by line, each as wide as it is here, whatever fonts there are elsewhere. */
  #text(node: Text, style: CSSStyleDeclaration): void {
    if (!node.data.trim()) return;
    const range = document.createRange();
    const lines: { text: string; box: Box }[] = [];
    const put = (from: number, to: number) => {
      range.setStart(node, from);
      range.setEnd(node, to);
      const rects = [...range.getClientRects()].filter(({ width }) => width > 0);
      const [first] = rects;
      if (!first) return;
      if (rects.some(({ top }) => Math.abs(top - first.top) > 2) && to - from > 1) {
        // Broken inside: letter by letter.
        for (let at = from; at < to; ) {
          const next = at + String.fromCodePoint(node.data.codePointAt(at)!).length;
          put(at, next);
          at = next;
        }
        return;
      }
      const text = node.data.slice(from, to);
      const line = lines.at(-1);
      const box = joined(rects);
      if (line && Math.abs(line.box.y - box.y) < 2) {
        const apart = /\s/.test(node.data[from - 1] ?? "");
        line.text += (apart ? " " : "") + text;
        line.box = joined([line.box, box]);
      } else {
        lines.push({ text, box });
      }
    };
    for (const { 0: word, index } of node.data.matchAll(/\S+/g)) put(index, index + word.length);
    for (const { text, box } of lines) this.#line(text, box, style);
  }

  #line(text: string, box: Box, style: CSSStyleDeclaration): void {
    const { direction, writingMode } = style;
    const name = this.#font(style);
    const letters = [...text].length;
    const y = box.y + this.#ascent(style);
    this.#grow(box);
    if (writingMode.startsWith("vertical")) {
      // Turned clockwise: the base line runs down, as far from the left edge as descenders need.
      const x = box.x + box.width - this.#ascent(style);
      this.parts.push(
        `<text class="${name}" transform="translate(${short(x)} ${short(box.y)}) rotate(90)">${xml(text)}</text>`,
      );
      return;
    }
    const right = direction === "rtl";
    const x = right ? box.x + box.width : box.x;
    const wide = letters > 1 ? ` textLength="${short(box.width)}"` : "";
    const way = right ? ' direction="rtl"' : "";
    this.parts.push(
      `<text class="${name}" x="${short(x)}" y="${short(y)}"${wide}${way}>${xml(text)}</text>`,
    );
  }

  /** What a rule puts before the content, in the middle of it. */
  #mark(text: string, el: HTMLElement): void {
    const { x, y, width, height } = el.getBoundingClientRect();
    const style = getComputedStyle(el, "::before");
    const at = `x="${short(x + width / 2)}" y="${short(y + height * 0.7)}"`;
    this.parts.push(
      `<text class="${this.#font(style)}" ${at} text-anchor="middle">${xml(text)}</text>`,
    );
  }

  #figure(el: SVGSVGElement): void {
    const style = getComputedStyle(el);
    if (style.display === "none") return;
    const copy = el.cloneNode(true) as SVGSVGElement;
    const copies = copy.querySelectorAll("*");
    for (const [i, part] of [...el.querySelectorAll("*")].entries()) {
      const shown = getComputedStyle(part);
      for (const name of DRAWN) copies[i]!.setAttribute(name, shown.getPropertyValue(name));
      copies[i]!.removeAttribute("class");
    }
    this.#nested(copy, el.getBoundingClientRect());
  }

  #nested(svg: Element, box: Box): void {
    for (const name of ["x", "y", "width", "height"] as const) {
      svg.setAttribute(name, short(box[name]));
    }
    svg.setAttribute("overflow", "visible");
    this.parts.push(new XMLSerializer().serializeToString(svg));
    this.#grow(box);
  }

  #rect(box: Box, attributes: string): void {
    this.parts.push(rect(box, attributes));
    this.#grow(box);
  }

  #grow({ x, y, width, height }: Box): void {
    this.right = Math.max(this.right, x + width);
    this.bottom = Math.max(this.bottom, y + height);
  }

  /** A class for the look of a text. */
  #font({ color, fontSize, fontWeight, fontStyle, fontFamily }: CSSStyleDeclaration): string {
    const rule = `fill:${color};font:${fontStyle} ${fontWeight} ${fontSize} ${fontFamily}`;
    const known = this.#classes.get(rule);
    if (known) return known;
    const name = `t${this.#classes.size}`;
    this.#classes.set(rule, name);
    return name;
  }

  /** From the top of a line to its base line. */
  #ascent({ fontStyle, fontWeight, fontSize, fontFamily }: CSSStyleDeclaration): number {
    const font = `${fontStyle} ${fontWeight} ${fontSize} ${fontFamily}`;
    let ascent = this.#ascents.get(font);
    if (ascent === undefined) {
      const drawing = document.createElement("canvas").getContext("2d");
      if (drawing) drawing.font = font;
      ascent = drawing?.measureText("x").fontBoundingBoxAscent ?? 0;
      this.#ascents.set(font, ascent);
    }
    return ascent;
  }
}

/** What the rules of the page say of parts of an SVG inside. */
const DRAWN = [
  "fill",
  "fill-opacity",
  "stroke",
  "stroke-width",
  "stroke-dasharray",
  "stroke-linejoin",
  "opacity",
  "vector-effect",
  "font-family",
  "font-size",
];

function rect({ x, y, width, height }: Box, attributes: string): string {
  return `<rect x="${short(x)}" y="${short(y)}" width="${short(width)}" height="${short(height)}" ${attributes}/>`;
}

function parsed(svg: string): Element {
  return new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
}

/** Text as XML may hold it. */
function xml(text: string): string {
  const whole = text.replace(/[\p{Surrogate}\ufffe\uffff]|[^\P{Cc}\t\n\r]/gu, "\ufffd");
  return whole.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
