// A case opens in the saliency panel, which runs in a frame of its own.

import type { ThemeName } from "../contract/palette.ts";
import { h } from "../draw/dom.ts";
import { tabs } from "../draw/tabs.ts";
import type { Opened } from "./case_packs.ts";

/** Where the template of a page leaves room, as Python has it. */
const STATE = "<!--state-->";
const BLOCKS = "<!--blocks-->";
const LEFT_OUT =
  "Its saliency was left out to keep the page small; open it from Python with trace().";

/** Steps of a chain, of which one is shown. */
export interface Steps {
  names: readonly string[];
  now: number;
  onPick(step: number): void;
}

/** Show the page of a case's panel, or say that this page does not carry it. */
export function showCase(host: HTMLElement, id: string, page: string | null, steps: Steps): void {
  const title = h("h3", {}, `Case ${id}`);
  const shown = page === null ? h("p", {}, LEFT_OUT) : frameOf(id, page);
  host.replaceChildren(title, ...(steps.names.length > 1 ? stepped(steps, shown) : [shown]));
  if (page !== null) host.scrollIntoView({ block: "nearest" });
}

function frameOf(id: string, page: string): HTMLElement {
  const frame = h("iframe", { title: `Saliency of case ${id}` });
  frame.srcdoc = page;
  frame.addEventListener("load", () => resize(frame));
  return frame;
}

/** A name for each step, under which its panel stands. */
function stepped({ names, now, onPick }: Steps, shown: HTMLElement): HTMLElement[] {
  const choices = names.map((label, step) => ({ value: String(step), label }));
  const forever = new AbortController().signal;
  const { bar, sheet, show } = tabs("Step of the chain", choices, forever, (v) => onPick(+v));
  show(String(now));
  sheet.append(shown);
  return [bar, sheet];
}

/** The page of a panel: its template, with the state and blocks of one case. */
export function panelPage({ state, blocks }: Opened, template: string, theme: ThemeName): string {
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
