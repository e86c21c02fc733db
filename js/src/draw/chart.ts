// The host of Bokeh charts: BokehJS runs once per page as classic scripts, the figures of a chart are
// embedded by its JSON one after the other, filled, coloured by the theme and sized by the scale, and
// a tap selects.

import { type Key, keys } from "../contract/contract.ts";
import { type Got, take } from "../core/load.ts";
import type { Store } from "../core/store.ts";
import type { Numbers } from "../maths/numbers.ts";
import { inTurns, turn, turnIfLong } from "../sources/turn.ts";
import { h } from "./dom.ts";
import type { Surface } from "./theme.ts";
import { drawnBy } from "./vector.ts";

interface BokehFigure {
  height: number;
  above: Record<string, unknown>[];
  below: Record<string, unknown>[];
  left: Record<string, unknown>[];
}

interface BokehView {
  model: { document: BokehDocument };
  export(kind: "svg"): { to_blob(): Promise<Blob> };
  remove(): void;
}

/** Further versions stand under their numbers. */
type Versions = Bokeh & Record<string, Bokeh>;

interface Bokeh {
  version: string;
  embed: {
    embed_items(
      documents: Record<string, object>,
      items: { docid: string; roots: Record<string, HTMLElement>; root_ids: string[] }[],
    ): Promise<{ roots: Iterable<BokehView> }[]>;
  };
}

/** A chart as Python gives it. */
interface Item {
  version: string;
  doc: { roots: { id: string }[] };
}

/** What a chart calls its parts, see the charts in Python. */
interface Names {
  /** The chart itself, as its block is named. */
  chart: string;
  /** Figures that grow with the scale. */
  figures: readonly string[];
  /** Sources in which a tap on a mark selects the layer of its column `layer`, and the head. */
  taps: readonly string[];
}

export interface Chart {
  el: HTMLElement;
  /** The blocks that it is embedded from: BokehJS, and the chart in the colours of the page. */
  keys(): readonly [Key<string>, Key<object>];
  /** Why it cannot be embedded; undefined where its blocks are there. */
  missing(got: Got): string | undefined;
  /** Embed it where that is still to be done, in the page and in sight; then `fill` it. */
  draw(got: Got, fill: (parts: ChartParts) => void): Promise<void>;
}

export interface ChartParts {
  /** Columns of a source. */
  data(source: string): Record<string, ArrayLike<number>>;
  fill(source: string, columns: Record<string, Numbers>): void;
  /** Marks of a source that stand out; none for all of them. */
  choose(source: string, indices: number[]): void;
}

interface Made {
  document: BokehDocument;
  dispose(): void;
}

interface Embedded {
  theme: string;
  /** Of figures, where it is not that of Python. */
  scales: Map<string, number>;
  made: Promise<Made>;
}

export function bokehChart(
  { chart, figures, taps }: Names,
  { store, surface, signal }: { store: Store; surface: Surface; signal: AbortSignal },
  className = "",
): Chart {
  const el = h("div", { class: `tl-chart ${className}`.trim() });
  const wanted = () => [keys.bokehScript(), keys.chart(chart, surface.palette.name)] as const;
  let embedded: Embedded | null = null;
  let choosing = false;
  let pictures = 0;
  const dispose = () => void embedded?.made.then((made) => made.dispose()).catch(() => {});
  signal.addEventListener("abort", dispose);

  const embed = (got: Got): Embedded => {
    const theme = surface.palette.name;
    if (embedded?.theme === theme) return embedded;
    const [script, item] = wanted();
    dispose();
    const made = embedChart(take(got(script)), take(got(item)), el, signal);
    const mine: Embedded = { theme, scales: new Map(), made };
    embedded = mine;
    made.then(
      ({ document }) => {
        for (const name of taps) selectOnTap(sourceOf(document, name), store, () => choosing);
      },
      () => {
        if (embedded === mine) embedded = null; // the next picture tries again
      },
    );
    return mine;
  };
  return {
    el,
    keys: wanted,
    missing(got) {
      const [script, item] = wanted();
      return got(item).reason ?? got(script).reason;
    },
    async draw(got, fill) {
      const current = embed(got);
      const { document } = await current.made;
      const steps: (() => void)[] = [];
      fill({
        data: (name) => sourceOf(document, name)?.data ?? {},
        fill(name, columns) {
          const source = sourceOf(document, name);
          // Even the same numbers would have the whole figure painted anew.
          if (source && !alike(source.data, columns)) steps.push(() => (source.data = columns));
        },
        choose(name, indices) {
          const source = sourceOf(document, name);
          steps.push(() => {
            choosing = true;
            if (source) source.selected.indices = indices;
            choosing = false;
          });
        },
      });
      const { scales } = current;
      for (const name of figures) {
        if ((scales.get(name) ?? 1) === surface.scale) continue;
        steps.push(() => {
          resize(document, name, scales.get(name) ?? 1, surface.scale);
          scales.set(name, surface.scale);
        });
      }
      // Each lays out or paints a figure; what a newer picture has done is not undone.
      const mine = ++pictures;
      for (const step of steps) {
        await turnIfLong();
        if (mine !== pictures) return;
        step();
      }
    },
  };
}

function alike(
  now: Readonly<Record<string, ArrayLike<number>>>,
  wanted: Readonly<Record<string, ArrayLike<number>>>,
): boolean {
  const names = Object.keys(wanted);
  return (
    names.length === Object.keys(now).length &&
    names.every((name) => {
      const [first, second] = [now[name], wanted[name]!];
      if (first?.length !== second.length) return false;
      return Array.from(second).every((value, i) => Object.is(value, first[i]));
    })
  );
}

function sourceOf(document: BokehDocument, name: string): BokehSource | null {
  return document.get_model_by_name(name) as BokehSource | null;
}

function selectOnTap(source: BokehSource | null, store: Store, choosing: () => boolean): void {
  source?.selected.properties.indices.change.connect(() => {
    const [index] = source.selected.indices;
    const layer = index === undefined ? undefined : source.data.layer?.[index];
    if (choosing() || layer === undefined || layer < 0) return;
    const head = source.data.head?.[index!];
    store.select(head === undefined ? { layer } : { layer, head });
  });
}

/** What the document of a chart is called while it is embedded. */
const CHART = "chart";

/** Embed a chart in `target`, which must be in the page. */
async function embedChart(
  script: string,
  item: object,
  target: HTMLElement,
  signal: AbortSignal,
): Promise<Made> {
  const { version, doc } = item as Item;
  const bokeh = await load(script, version);
  await connected(target, signal);
  const ids = doc.roots.map(({ id }) => id);
  const hosts = ids.map(() => h("div"));
  target.replaceChildren(...hosts);
  const roots = Object.fromEntries(ids.map((id, i) => [id, hosts[i]!]));
  const [manager] = await bokeh.embed.embed_items({ [CHART]: doc }, [
    { docid: CHART, roots, root_ids: ids },
  ]);
  const views = [...manager!.roots];
  const [view] = views;
  if (!view) throw new Error("The chart has no content.");
  for (const [i, host] of hosts.entries()) {
    drawnBy(host, async () => (await views[i]!.export("svg").to_blob()).text());
  }
  return {
    document: view.model.document,
    dispose() {
      for (const shown of views) shown.remove();
      for (const host of hosts) host.remove();
    },
  };
}

const TEXTS = ["axis_label", "major_label", "label"].map((name) => `${name}_text_font_size`);

/** Set the size of a figure and its texts against what Python gave it. */
function resize(document: BokehDocument, name: string, from: number, to: number): void {
  const figure = document.get_model_by_name(name) as BokehFigure | null;
  if (!figure) return;
  figure.height = Math.round((figure.height * to) / from);
  for (const part of [...figure.above, ...figure.below, ...figure.left]) {
    for (const text of TEXTS) {
      const size = part[text];
      if (typeof size === "string") part[text] = `${(Number.parseFloat(size) * to) / from}px`;
    }
  }
}

/** BokehJS of the wanted version: what the page has, or the given script run once. */
async function load(script: string, version: string): Promise<Bokeh> {
  if (!installed(version)) {
    running ??= run(script).finally(() => {
      running = null;
    });
    await running;
  }
  const bokeh = installed(version);
  if (!bokeh) throw new Error("BokehJS could not be loaded: the page does not allow its script.");
  return bokeh;
}

let running: Promise<void> | null = null;

/** Between scripts that run one after the other, where the page has no long task. */
const SCRIPT_END = "\n//# next script\n";

/** Some pages hold scripts of which the last gives way after each of its modules. */
async function run(scripts: string): Promise<void> {
  for (const script of scripts.split(SCRIPT_END)) {
    // A classic script: its wrapper needs the global `this`, which a module does not have.
    const element = document.createElement("script");
    element.textContent = script;
    document.head.append(element);
    element.remove();
    await turn();
  }
  const page = globalThis as { runBokeh?: () => Iterable<unknown>; bokehModules?: unknown };
  await inTurns(page.runBokeh?.() ?? []);
  delete page.runBokeh;
  delete page.bokehModules;
}

function installed(version: string): Bokeh | undefined {
  const page = globalThis as { twinlensBokeh?: Versions; Bokeh?: Versions };
  const { twinlensBokeh: ours, Bokeh: host } = page;
  return [ours, ours?.[version], host, host?.[version]].find((at) => at?.version === version);
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

// What charts of panels and figures of reports use of BokehJS models.

export interface BokehSource {
  data: Record<string, ArrayLike<number>>;
  selected: {
    indices: number[];
    properties: { indices: { change: { connect(slot: () => void): void } } };
  };
}

export interface BokehDocument {
  get_model_by_name(name: string): object | null;
}
