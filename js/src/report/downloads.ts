// Every figure is saved as it is seen.

import { h } from "../draw/dom.ts";
import { download } from "../draw/download.ts";
import type { ImageFormat } from "./figures.ts";

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
