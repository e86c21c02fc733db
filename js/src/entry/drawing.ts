// Draws every figure, then puts all of them as SVG and PNG into the page, for --dump-dom.

import { embeddedText } from "../draw/dom.ts";
import { sayDrawn } from "../draw/download.ts";
import { embedFigures, type PlotView } from "../report/figures.ts";
import type { FigureDocuments } from "../report/study.ts";

async function draw(figures: FigureDocuments): Promise<void> {
  const views = await embedFigures(figures, (name) => {
    const id = figures.roots[name]!;
    document.querySelector(`[data-figure="${name}"]`)!.id = id;
    return id;
  });
  const drawn: [name: string, svg: string, png: string][] = [];
  for (const [name, id] of Object.entries(figures.roots)) {
    const view = [...views.roots].find(({ model }) => model.id === id)!;
    await laidOut(view);
    const svg = await (await view.export("svg").to_blob()).text();
    const png = view.export("png").canvas.toDataURL("image/png").split(",")[1]!;
    drawn.push([name, svg, png]);
  }
  sayDrawn(drawn);
}

/** Wait until a figure has a size. */
async function laidOut(view: PlotView): Promise<void> {
  while (!(view.bbox.width > 0 && view.bbox.height > 0)) {
    await new Promise((done) => setTimeout(done, 20));
  }
}

draw(JSON.parse(embeddedText("figures")));
