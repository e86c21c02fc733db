// Word clouds in zones: deterministic, every word placed, one scale of sizes for all zones.

export interface CloudWord {
  text: string;
  /** Where its score lies between the smallest and the largest one, 0 to 1. */
  weight: number;
}

export interface Placed extends CloudWord {
  /** Top left corner and size of the box, in pixels inside the zone. */
  x: number;
  y: number;
  width: number;
  height: number;
  size: number;
  /** The text as drawn: shortened where it is wider than its zone even when small. */
  shown: string;
}

export interface Zone {
  words: Placed[];
  width: number;
  height: number;
}

export type Measure = (text: string, size: number) => number;

export interface CloudOptions {
  width: number;
  height: number;
  largest: number;
  smallest: number;
  measure: Measure;
}

const LINE = 1.16;
const PADDING = 3;
/** Places to try, from the middle outwards, in shares of the zone's sides. */
const SPIRAL: readonly (readonly [number, number])[] = Array.from({ length: 1200 }, (_, step) => {
  const angle = Math.sqrt(step) * 2.4;
  const radius = Math.sqrt(step / 1200) / 1.4;
  return [radius * Math.cos(angle), radius * Math.sin(angle)];
});
/** A zone filled more than this is not tried: it hardly ever works out. */
const FILL = 0.72;
/** Smallest share of a row or a column, of what each would have if all were equal. */
const LEAST = { row: 0.45, column: 0.6 };

/**
 * Place the words of each zone of a grid, rows of equally many zones; where they do not fit, they
 * shrink, then the height grows.
 */
export function layoutZones(grid: CloudWord[][][], options: CloudOptions): Zone[][] {
  const least = options.smallest * 1.4;
  for (let largest = options.largest; largest > least; largest *= 0.9) {
    const placed = attempt(grid, { ...options, largest });
    if (placed) return placed;
  }
  for (let height = options.height; ; height *= 1.2) {
    const placed = attempt(grid, { ...options, height, largest: least });
    if (placed) return placed;
  }
}

function attempt(grid: CloudWord[][][], options: CloudOptions): Zone[][] | null {
  const sized = grid.map((row) => row.map((words) => words.map((w) => sizeWord(w, options))));
  const demand = sized.map((row) =>
    row.map((words) => words.reduce((sum, w) => sum + w.width * w.height, 0)),
  );
  const columns = demand[0]!.map((_, c) => demand.reduce((sum, row) => sum + row[c]!, 0));
  const widths = fairShares(columns, LEAST.column).map((share) => share * options.width);
  // A row is as high as its fullest zone needs at these widths.
  const rows = demand.map((row) => Math.max(...row.map((d, c) => d / widths[c]!)));
  const heights = fairShares(rows, LEAST.row).map((share) => share * options.height);
  const result: Zone[][] = [];
  for (const [r, row] of sized.entries()) {
    const zones: Zone[] = [];
    for (const [c, words] of row.entries()) {
      const [width, height] = [widths[c]!, heights[r]!];
      const fitting = words.map((word) => narrow(word, width, options));
      if (!placeAll(fitting, width, height)) return null;
      zones.push({ words: fitting, width, height });
    }
    result.push(zones);
  }
  return result;
}

function sizeWord(word: CloudWord, { largest, smallest, measure }: CloudOptions): Placed {
  const size = smallest + (largest - smallest) * word.weight;
  const width = measure(word.text, size) + PADDING * 2;
  return { ...word, shown: word.text, size, width, height: size * LINE, x: 0, y: 0 };
}

/** Make a word no wider than its zone: smaller first, then shorter. */
function narrow(word: Placed, width: number, { smallest, measure }: CloudOptions): Placed {
  if (word.width <= width) return word;
  const size = Math.max((word.size * (width - PADDING * 2)) / word.width, smallest);
  const letters = [...word.text];
  const widthOf = (text: string) => measure(text, size) + PADDING * 2;
  let shown = word.text;
  while (letters.length > 1 && widthOf(shown) > width) {
    letters.pop();
    shown = `${letters.join("")}…`;
  }
  return { ...word, shown, size, width: Math.min(widthOf(shown), width), height: size * LINE };
}

/** Shares of the whole in proportion to what is wanted, none far below `least` of an equal one. */
function fairShares(demand: number[], least: number): number[] {
  const total = demand.reduce((a, b) => a + b, 0) || 1;
  const raised = demand.map((d) => Math.max(d / total, least / demand.length));
  const sum = raised.reduce((a, b) => a + b, 0);
  return raised.map((share) => share / sum);
}

function placeAll(words: Placed[], width: number, height: number): boolean {
  const area = words.reduce((sum, word) => sum + word.width * word.height, 0);
  if (area > FILL * width * height) return false;
  const order = [...words].sort((a, b) => b.size - a.size || (a.text < b.text ? -1 : 1));
  const done: Placed[] = [];
  for (const word of order) {
    if (!place(word, done, width, height)) return false;
    done.push(word);
  }
  return true;
}

/** Walk an ellipse-shaped spiral from the middle to the first free place. */
function place(word: Placed, done: Placed[], width: number, height: number): boolean {
  for (const [dx, dy] of SPIRAL) {
    // Pushed back in sideways: a word as wide as its zone fits at every height.
    word.x = Math.min(Math.max((width - word.width) / 2 + dx * width, 0), width - word.width);
    word.y = (height - word.height) / 2 + dy * height;
    const inside = word.y >= 0 && word.y + word.height <= height;
    if (inside && !done.some((placed) => overlap(word, placed))) return true;
  }
  return false;
}

export function overlap(a: Placed, b: Placed): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

/** Width of text by a canvas, or by a rule of thumb where there is none; each measured once. */
export function measurer(family: string): Measure {
  const drawing = document.createElement("canvas").getContext("2d");
  const known = new Map<string, number>();
  const perPixel = (text: string) => {
    if (!drawing) return [...text].length * 0.62;
    drawing.font = `600 100px ${family}`;
    return drawing.measureText(text).width / 100;
  };
  return (text, size) => {
    const width = known.get(text) ?? perPixel(text);
    known.set(text, width);
    return width * size;
  };
}
