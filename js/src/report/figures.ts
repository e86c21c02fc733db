// The figures: drawn for one theme, brushed, saved as they are seen; each mark leads where its number
// leads. And what is used of BokehJS, which is a script of the page.

import type { BokehDocument, BokehSource } from "../draw/chart.ts";
import { h } from "../draw/dom.ts";
import { download } from "../draw/download.ts";
import type { Scores } from "./cases.ts";
import type { FigureDocuments } from "./study.ts";

export type ImageFormat = "svg" | "png";

export interface Figures {
  /** Draw them anew; whatever was selected is not. */
  draw(figures: FigureDocuments): Promise<void>;
  /** Select cases, without a word to those who listen for a brush. */
  select(chosen: readonly number[]): void;
  selected(): number[];
  rescore(scores: Scores): void;
  picture(name: string, format: ImageFormat): Promise<Blob>;
}

interface Listeners {
  /** Cases were selected in a figure; null for none. */
  onBrush(chosen: number[] | null): void;
  /** A mark was clicked that stands for a number in a table. */
  onNumber(number: HTMLElement): void;
}

export function reportFigures({ onBrush, onNumber }: Listeners): Figures {
  let views: PlotViews | null = null;
  /** The cases of the scatters, which all of them share. */
  let cases: BokehSource | null = null;
  let selecting = false;
  return {
    async draw(figures) {
      views?.clear();
      views = await embedFigures(figures, placeOf);
      const plots = [...views.roots].map((view) => view.model);
      const source = plots[0]!.document.get_model_by_name("cases") as BokehSource;
      cases = source;
      source.selected.properties.indices.change.connect(() => {
        const chosen = [...source.selected.indices];
        if (!selecting) onBrush(chosen.length ? chosen : null);
      });
      for (const plot of plots) {
        onTap(plot, "variants", (marks, place) =>
          variantNumber(plot.name, String(marks.variant?.[place])),
        );
        onTap(plot, "profile", (marks, place) =>
          profileNumber(String(marks.profile?.[place]), String(marks.part?.[place])),
        );
      }
    },
    select(chosen) {
      if (!cases) return;
      selecting = true;
      cases.selected.indices = [...chosen];
      selecting = false;
    },
    selected: () => [...(cases?.selected.indices ?? [])],
    rescore(scores) {
      if (cases) cases.data = { ...cases.data, ...scores };
    },
    picture(name, format) {
      const view = [...(views?.roots ?? [])].find((view) => view.model.name === name);
      if (!view) throw new Error(`The figure ${name} is not drawn.`);
      return view.export(format).to_blob();
    },
  };

  function onTap(
    plot: Plot,
    name: string,
    numberOf: (marks: NamedSource["data"], place: number) => HTMLElement | null,
  ): void {
    for (const marks of new Set(plot.renderers?.map((renderer) => renderer.data_source))) {
      if (marks?.name !== name) continue;
      marks.selected.properties.indices.change.connect(() => {
        const [place] = marks.selected.indices;
        const number = place === undefined ? null : numberOf(marks.data, place);
        if (number) onNumber(number);
      });
    }
  }
}

export function figureNamed(name: string): HTMLElement {
  return document.querySelector<HTMLElement>(`figure[data-figure="${name}"]`)!;
}

/** A fresh element for the plot of a figure; returns its id. */
function placeOf(name: string): string {
  const figure = figureNamed(name);
  figure.querySelector(".plot")?.remove();
  const id = `plot-${name}`;
  figure.prepend(h("div", { class: "plot", id }));
  return id;
}

/** The number of a change of settings, in the last column of the table before its figure. */
function variantNumber(figure: string, variant: string): HTMLElement | null {
  const table = figureNamed(figure).previousElementSibling;
  const rows = [...(table?.querySelectorAll<HTMLTableRowElement>("tbody tr") ?? [])];
  const row = rows.find((row) => row.cells[0]?.textContent === variant);
  return row?.querySelector<HTMLElement>("td:last-child button") ?? null;
}

function profileNumber(profile: string, part: string): HTMLElement | null {
  return document.querySelector<HTMLElement>(
    `button[data-profile="${profile}"][data-part="${part}"]`,
  );
}

const FORMATS: readonly ImageFormat[] = ["svg", "png"];

/** Give each figure a button per format. */
export function offerDownloads(
  picture: (name: string, format: ImageFormat) => Promise<Blob>,
): void {
  for (const figure of document.querySelectorAll<HTMLElement>("figure[data-figure]")) {
    const name = figure.dataset.figure!;
    const caption = figure.querySelector("figcaption")!;
    for (const format of FORMATS) {
      const title = format.toUpperCase();
      const label = `Save figure ${name} as ${title}`;
      const props = { type: "button", class: "plain save", "data-format": format };
      const button = h("button", { ...props, "aria-label": label }, title);
      button.addEventListener("click", async () => {
        download(await picture(name, format), `${name}.${format}`);
      });
      caption.append(" ", button);
    }
  }
}

/** A figure; notifications are among the roots, too, and draw nothing. */
export interface Plot {
  id: string;
  name: string;
  document: BokehDocument;
  renderers?: { data_source: NamedSource | null }[];
}

export interface NamedSource extends Omit<BokehSource, "data"> {
  name: string | null;
  data: Record<string, ArrayLike<unknown>>;
}

interface Picture {
  canvas: HTMLCanvasElement;
  to_blob(): Promise<Blob>;
}

export interface PlotView {
  model: Plot;
  bbox: { width: number; height: number };
  export(format: "svg" | "png"): Picture;
}

export interface PlotViews {
  readonly roots: Iterable<PlotView>;
  clear(): void;
}

interface BokehEmbed {
  embed: {
    embed_items(documents: object, items: object[]): Promise<PlotViews[]>;
  };
}

/** Draw all figures of one document, each in the element with the id that `place` gives it. */
export async function embedFigures(
  figures: FigureDocuments,
  place: (name: string) => string,
): Promise<PlotViews> {
  const { documents, roots: ids } = figures;
  const [docid] = Object.keys(documents);
  const roots = Object.fromEntries(Object.entries(ids).map(([name, id]) => [id, place(name)]));
  const page = globalThis as { twinlensBokeh?: BokehEmbed; Bokeh?: BokehEmbed };
  const bokeh = (page.twinlensBokeh ?? page.Bokeh)!;
  const item = { docid, roots, root_ids: Object.values(ids) };
  const [views] = await bokeh.embed.embed_items(documents, [item]);
  return views!;
}
