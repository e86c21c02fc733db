// A case opens in the saliency panel, which runs in a frame of its own.

import { unpacked } from "../contract/packed.ts";
import type { ThemeName } from "../contract/palette.ts";
import { h } from "../draw/dom.ts";

/** Where the template of a page leaves room, as Python has it. */
const STATE = "<!--state-->";
const BLOCKS = "<!--blocks-->";
const LEFT_OUT =
  "Its saliency was left out to keep the page small; open it from Python with trace().";

/** Show the page of a case's panel, or say that this page does not carry it. */
export function showCase(host: HTMLElement, id: string, page: string | null): void {
  const title = h("h3", {}, `Case ${id}`);
  if (page === null) {
    host.replaceChildren(title, h("p", {}, LEFT_OUT));
    return;
  }
  const frame = h("iframe", { title: `Saliency of case ${id}` });
  frame.srcdoc = page;
  frame.addEventListener("load", () => resize(frame));
  host.replaceChildren(title, frame);
  host.scrollIntoView({ block: "nearest" });
}

/** The page of a panel: its template, with the packed state and blocks of one case. */
export async function panelPage(
  packed: string,
  template: string,
  theme: ThemeName,
): Promise<string> {
  const [state, blocks]: [object, string] = JSON.parse(await unpacked(packed).text());
  const themed = JSON.stringify({ ...state, theme }).replaceAll("<", "\\u003c");
  // Functions, because a replacement text would have its dollar signs interpreted.
  return template.replace(STATE, () => themed).replace(BLOCKS, () => blocks);
}

/** The frame is as tall as what it shows, so that nothing scrolls inside it. */
function resize(frame: HTMLIFrameElement): void {
  const inner = frame.contentDocument?.body;
  if (!inner) return;
  new ResizeObserver(() => {
    const shown = inner.querySelector(".tl-content") ?? inner;
    frame.style.height = `${Math.max(320, shown.scrollHeight + 8)}px`;
  }).observe(inner.querySelector("main") ?? inner);
}
