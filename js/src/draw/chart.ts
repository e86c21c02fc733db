// BokehJS: loaded once per page as a classic script, then charts embedded by their JSON.

import type { Store } from "../core/store.ts";
import type { Numbers } from "../maths/numbers.ts";

export interface BokehModel {
  visible?: boolean;
}

interface BokehFigure extends BokehModel {
  height: number;
  above: Record<string, unknown>[];
  below: Record<string, unknown>[];
  left: Record<string, unknown>[];
}

export interface BokehSource extends BokehModel {
  data: Record<string, ArrayLike<number>>;
  selected: {
    indices: number[];
    properties: { indices: { change: { connect(slot: () => void): void } } };
  };
}

export interface BokehDocument {
  get_model_by_name(name: string): BokehModel | null;
}

interface BokehView {
  model: { document: BokehDocument };
  remove(): void;
}

interface Bokeh {
  version: string;
  embed: {
    embed_item(
      item: object,
      target: HTMLElement,
    ): Promise<Iterable<BokehView> | { roots: BokehView[] }>;
  };
}

/** Embed a chart in `target`, which must be in the page. */
export async function embedChart(
  script: string,
  item: object,
  target: HTMLElement,
  signal: AbortSignal,
): Promise<{ document: BokehDocument; dispose(): void }> {
  const version = (item as { doc?: { version?: string } }).doc?.version ?? "";
  const bokeh = load(script, version);
  await connected(target, signal);
  const host = document.createElement("div");
  target.replaceChildren(host);
  const manager = await bokeh.embed.embed_item(item, host);
  const views = "roots" in manager ? [...manager.roots] : [...manager];
  const [view] = views;
  if (!view) throw new Error("The chart has no content.");
  return {
    document: view.model.document,
    dispose() {
      for (const one of views) one.remove();
      host.remove();
    },
  };
}

const TEXTS = ["axis_label", "major_label", "label"].map((name) => `${name}_text_font_size`);

/** Set the size of a figure and its texts against what Python gave it. */
export function resize(document: BokehDocument, name: string, from: number, to: number): void {
  const figure = document.get_model_by_name(name) as BokehFigure | null;
  if (!figure || from === to) return;
  figure.height = Math.round((figure.height * to) / from);
  for (const part of [...figure.above, ...figure.below, ...figure.left]) {
    for (const text of TEXTS) {
      const size = part[text];
      if (typeof size === "string") part[text] = `${(Number.parseFloat(size) * to) / from}px`;
    }
  }
}

/** Give a data source of a chart its columns. */
export function fillSource(
  document: BokehDocument,
  name: string,
  data: Record<string, Numbers>,
): void {
  const source = document.get_model_by_name(name) as BokehSource | null;
  if (source) source.data = data;
}

/** A tap on a mark selects the layer in its source's column `layer`. */
export function selectLayerOnTap(document: BokehDocument, name: string, store: Store): void {
  const source = document.get_model_by_name(name) as BokehSource | null;
  source?.selected.properties.indices.change.connect(() => {
    const [index] = source.selected.indices;
    const layer = index === undefined ? undefined : source.data.layer?.[index];
    if (layer !== undefined && layer >= 0) store.select({ layer });
  });
}

/** BokehJS of the wanted version: what the page has, or the given script run once. */
function load(script: string, version: string): Bokeh {
  const found = installed(version);
  if (found) return found;
  // A classic script: its wrapper needs the global `this`, which a module does not have.
  const element = document.createElement("script");
  element.textContent = script;
  document.head.append(element);
  element.remove();
  const bokeh = installed(version);
  if (!bokeh) throw new Error("BokehJS could not be loaded: the page does not allow its script.");
  return bokeh;
}

function installed(version: string): Bokeh | undefined {
  const bokeh = (globalThis as { Bokeh?: Bokeh & Record<string, Bokeh> }).Bokeh;
  return bokeh?.version === version ? bokeh : bokeh?.[version];
}

/** Wait until an element is in the page: Bokeh measures when it embeds. */
function connected(element: HTMLElement, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (element.isConnected || signal.aborted) resolve();
      else requestAnimationFrame(look);
    };
    look();
  });
}
