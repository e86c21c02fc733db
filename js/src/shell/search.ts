// Search: tokens of prompt and answer by what they say, and words among concepts and heads.

import { SIDES } from "../contract/contract.ts";
import { shownIn } from "../core/options.ts";
import type { Store } from "../core/store.ts";
import { clicks, h, listen, taken } from "../draw/dom.ts";
import { quote } from "../draw/format.ts";
import { layer } from "../draw/layer.ts";

/** Tokens that are listed. */
const MOST = 12;

interface Hit {
  text: string;
  where: string;
  go(): void;
}

export function searchCard(
  store: Store,
  root: HTMLElement,
  signal: AbortSignal,
): { el: HTMLElement; open(): void } {
  const input = h("input", {
    type: "search",
    class: "tl-search",
    placeholder: "a token or a word",
    "aria-label": "search tokens and words",
  });
  const list = h("div", { class: "tl-hits", role: "listbox", "aria-label": "found" });
  const el = h(
    "div",
    { class: "tl-card tl-search-card", role: "dialog", "aria-label": "search" },
    input,
    list,
  );
  let hits: Hit[] = [];
  let at = 0;
  const card = layer(el, el, signal, (open) => (open ? input.focus() : root.focus()));
  const choose = (index: number) => {
    const hit = hits[index];
    if (!hit) return;
    card.close();
    hit.go();
  };
  const draw = () => {
    list.replaceChildren(
      ...hits.map(({ text, where }, i) =>
        h(
          "div",
          { class: "tl-hit", role: "option", "data-hit": i, "aria-selected": String(i === at) },
          text,
          h("small", {}, where),
        ),
      ),
    );
  };
  const find = () => {
    hits = hitsOf(store, input.value.trim());
    at = 0;
    draw();
  };
  listen(input, "input", { signal }, find);
  listen(el, "keydown", { signal }, (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter") choose(at);
    else if (step) {
      at = Math.min(Math.max(at + step, 0), hits.length - 1);
      draw();
    } else return;
    taken(event);
  });
  clicks(list, "[data-hit]", signal, (hit) => choose(Number(hit.dataset.hit)));
  return {
    el,
    open() {
      input.value = "";
      find();
      card.open();
    },
  };
}

function hitsOf(store: Store, wanted: string): Hit[] {
  if (!wanted) return [];
  const lower = wanted.toLowerCase();
  const n = store.promptLength;
  const total = Math.max(...SIDES.map((side) => store.length(side)));
  const hits: Hit[] = [];
  for (let token = 0; token < total && hits.length < MOST; token++) {
    const said = SIDES.map((side) => store.text(token, side)).find((text) =>
      text.toLowerCase().includes(lower),
    );
    if (said === undefined) continue;
    hits.push({
      text: quote(said),
      where: token < n ? `prompt, token ${token}` : `answer, token ${token}`,
      go: () => {
        store.setOptions("saliency", { span: null, cell: null });
        store.select({ token });
      },
    });
  }
  const among = (where: string, go: () => void): Hit => ({ text: quote(wanted), where, go });
  return [
    ...hits,
    among("look it up among concepts", () => {
      store.setOptions("concepts", { tab: "find", word: wanted });
      store.setOptions("dashboard", shownIn("concepts"));
    }),
    among("look it up among word pairs of heads", () => {
      store.setOptions("heads", { tab: "pairs", word: wanted });
      store.setOptions("dashboard", shownIn("heads"));
    }),
  ];
}
