// Pictures and numbers of what is seen, as files.

import { button, h } from "./dom.ts";
import { asCsv, download } from "./download.ts";
import { asVector } from "./vector.ts";

/** Pixels of a picture for one of the screen. */
const SHARP = 3;
/** Pictures of more pixels are less sharp. */
const MOST = 2 ** 26;

/** What can be saved. */
export interface Snapshot {
  /** Of the files. */
  name: string;
  /** Said of the picture to who cannot see it. */
  about(): string;
  table(): (string | number)[][];
}

const ALL = new WeakMap<Element, Snapshot>();

/** What can be saved of an element. */
export function snapshotOf(el: Element): Snapshot | undefined {
  return ALL.get(el);
}

/** Say what can be saved of an element. */
export function keep(el: Element, snapshot: Snapshot): void {
  ALL.set(el, snapshot);
}

/** Buttons that save it as SVG, PNG and CSV. */
export function saveButtons(
  { name, about, table }: Snapshot,
  place: () => HTMLElement,
  failed: (error: unknown) => void,
  signal: AbortSignal,
): HTMLElement {
  const save = (ending: string, content: () => Blob | Promise<Blob>) => {
    const run = async () => download(await content(), `twinlens-${name}.${ending}`);
    return button(`save as ${ending.toUpperCase()}`, () => void run().catch(failed), signal);
  };
  const svg = async () => {
    const { svg } = await asVector(place(), about());
    return new Blob([svg], { type: "image/svg+xml" });
  };
  return h(
    "div",
    { class: "tl-saves" },
    save("svg", svg),
    save("png", () => asPng(place(), about())),
    save("csv", () => new Blob([asCsv(table())], { type: "text/csv" })),
  );
}

async function asPng(el: HTMLElement, about: string): Promise<Blob> {
  const { width, height, svg } = await asVector(el, about);
  const image = new Image(width, height);
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const sharp = Math.min(SHARP, Math.sqrt(MOST / (width * height)));
  const canvas = h("canvas", {
    width: Math.ceil(width * sharp),
    height: Math.ceil(height * sharp),
  });
  const drawing = canvas.getContext("2d")!;
  drawing.scale(sharp, sharp);
  drawing.drawImage(image, 0, 0);
  return new Promise((done, fail) => {
    canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error("The picture is too large."))));
  });
}
