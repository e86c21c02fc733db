// Boxes of elements, and what computed styles say about what is drawn in them.

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** A box with as much less on every side. */
export function shrunk({ x, y, width, height }: Box, by: number): Box {
  const size = (value: number) => Math.max(value - 2 * by, 0);
  return { x: x + by, y: y + by, width: size(width), height: size(height) };
}

/** The smallest box around others. */
export function joined(boxes: readonly Box[]): Box {
  const x = Math.min(...boxes.map((box) => box.x));
  const y = Math.min(...boxes.map((box) => box.y));
  const right = Math.max(...boxes.map((box) => box.x + box.width));
  const bottom = Math.max(...boxes.map((box) => box.y + box.height));
  return { x, y, width: right - x, height: bottom - y };
}

/** Where a layer of the background lies, by its computed size and position. */
export function placed(box: Box, size: string, position: string): Box {
  const [across = "auto", down = "auto"] = size.match(/max\([^)]*\)|\S+/g) ?? [];
  const [left = "0%", top = "0%"] = position.split(" ");
  const length = (text: string, whole: number): number => {
    if (text === "auto") return whole;
    if (text.startsWith("max(")) {
      return Math.max(
        ...text
          .slice(4, -1)
          .split(",")
          .map((part) => length(part.trim(), whole)),
      );
    }
    const value = Number.parseFloat(text);
    return text.endsWith("%") ? (value / 100) * whole : value;
  };
  const width = length(across, box.width);
  const height = length(down, box.height);
  return {
    x: box.x + length(left, left.endsWith("%") ? box.width - width : 0),
    y: box.y + length(top, top.endsWith("%") ? box.height - height : 0),
    width,
    height,
  };
}

/** Layers of a background: at the commas outside of brackets. */
export function layers(text: string): string[] {
  let depth = 0;
  const parts = [""];
  for (const letter of text) {
    if (letter === "(") depth++;
    else if (letter === ")") depth--;
    if (letter === "," && depth === 0) parts.push("");
    else parts[parts.length - 1] += letter;
  }
  return parts.map((part) => part.trim());
}

/** Rings and strips; blurred shadows are none. */
export function shadows(text: string) {
  const pattern =
    /((?:rgba?|color)\([^)]*\)) (-?[\d.]+)px (-?[\d.]+)px ([\d.]+)px (-?[\d.]+)px( inset)?/g;
  return [...text.matchAll(pattern)].flatMap(([, colour, dx, dy, blur, spread, inset]) =>
    Number(blur) === 0
      ? [{ colour, dx: Number(dx), dy: Number(dy), spread: Number(spread), inset: Boolean(inset) }]
      : [],
  );
}

/** Whether a colour is not wholly transparent. */
export function seen(colour: string): boolean {
  return colour !== "transparent" && !/,\s*0\)$|\/\s*0\)$/.test(colour);
}
