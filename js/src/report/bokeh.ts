// What the report uses of BokehJS, which is a script of the page.

import type { BokehDocument, BokehSource } from "../draw/bokeh.ts";
import type { FigureDocuments } from "./study.ts";

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
  const bokeh = (globalThis as unknown as { Bokeh: BokehEmbed }).Bokeh;
  const item = { docid, roots, root_ids: Object.values(ids) };
  const [views] = await bokeh.embed.embed_items(documents, [item]);
  return views!;
}
