// Pictures and numbers of what is seen, as files.

import { button, h, listen, picker } from "./dom.ts";
import { asCsv, download } from "./download.ts";
import { copyOf } from "./painted.ts";
import { asVector, type Vector } from "./vector.ts";

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

/** Buttons that save it, or one picture of it, as SVG and PNG, and its numbers as CSV. */
export function saveButtons(
  { name, about, table }: Snapshot,
  place: () => HTMLElement,
  failed: (error: unknown) => void,
  signal: AbortSignal,
): HTMLElement {
  let which = "";
  const choice = picker<string>("what is saved", signal, (picked) => {
    which = picked;
  });
  // What there is to choose from is asked when the sheet opens, which has the focus then.
  const offer = () => {
    const names = [...pictures(place()).keys()];
    if (!names.includes(which)) which = "";
    const single = names.map((name) => ({ value: name, label: `only “${name}”` }));
    choice.update([{ value: "", label: "all of it" }, ...single], which);
  };
  const drawn = async () => {
    const figure = pictures(place()).get(which);
    if (!figure) return asVector(place(), about());
    const alone = byItself(place(), figure);
    try {
      return await asVector(alone, `${which}. ${about()}`);
    } finally {
      alone.remove();
    }
  };
  const save = (ending: string, content: () => Blob | Promise<Blob>) => {
    const run = async () => {
      const file = [name, ...which.split(/[^\w]+/)].filter(Boolean).join("-");
      download(await content(), `twinlens-${file}.${ending}`);
    };
    return button(`save as ${ending.toUpperCase()}`, () => void run().catch(failed), signal);
  };
  const svg = async () => new Blob([(await drawn()).svg], { type: "image/svg+xml" });
  const el = h(
    "div",
    { class: "tl-saves" },
    choice.el,
    save("svg", svg),
    save("png", async () => asPng(await drawn())),
    save("csv", () => new Blob([asCsv(table())], { type: "text/csv" })),
  );
  listen(el, "focusin", { signal }, offer);
  return el;
}

/** What can be saved by itself, by its name: of a part with its own buttons, there. */
function pictures(el: HTMLElement): Map<string, HTMLElement> {
  const all = [...el.querySelectorAll<HTMLElement>("figure")].filter(
    (figure) => figure.clientHeight > 0 && figure.closest(".tl-panel, .tl-head-detail") === el,
  );
  const nameOf = (figure: HTMLElement) =>
    figure.getAttribute("aria-label") ??
    figure.querySelector("figcaption, .tl-picture-title")?.textContent ??
    "";
  return new Map(all.map((figure) => [nameOf(figure), figure]));
}

/** A copy of a picture in the page, under what is said of it; with what others have beside the first. */
function byItself(el: HTMLElement, figure: HTMLElement): HTMLElement {
  const copy = copyOf(figure);
  const around = figure.parentElement!.cloneNode() as HTMLElement;
  around.append(copy);
  for (const shared of copy.querySelectorAll("[data-shared]")) shared.removeAttribute("hidden");
  const said = [".tl-title", ".tl-plain"].map((part) => el.querySelector(part)!.cloneNode(true));
  const sheet = h("div", { class: "tl-alone" }, ...said, around);
  el.closest(".twinlens")!.append(sheet);
  return sheet;
}

async function asPng({ width, height, svg }: Vector): Promise<Blob> {
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
