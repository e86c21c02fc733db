// Word pairs of one head as a table, and a search for the heads that hold a word.

import type { WordHeads } from "../../contract/contract.ts";
import { type Key, keys } from "../../contract/contract.ts";
import type { Load } from "../../core/load.ts";
import type { Store } from "../../core/store.ts";
import { button, h } from "../../draw/dom.ts";
import { count, quote, signed } from "../../draw/format.ts";
import { windowList } from "../../draw/window_list.ts";
import type { View } from "../../shell/frame.ts";
import { makeJob } from "../../shell/job.ts";
import type { HeadView } from "./detail.ts";
import {
  computed,
  FATES,
  type Fate,
  filtered,
  findWord,
  loadPairs,
  type Pair,
  pairsOf,
} from "./pairs_data.ts";

/** Rows of the table before the reader asks for all. */
const ROWS = 40;
/** Milliseconds after the last letter before a word is looked up. */
const PAUSE = 350;
/** Whose colour a fate has. */
const SIDE = { gained: "tuned", kept: "both", lost: "base" } as const;
const SAYS = { gained: "only tuned holds it", kept: "both hold it", lost: "only base holds it" };

export function headPairs(store: Store, signal: AbortSignal): HeadView {
  const fates = new Set<Fate>(FATES);
  let word = "";
  let long = false;
  let view: View | null = null;
  let head = { layer: 0, head: 0 };
  let timer: ReturnType<typeof setTimeout> | undefined;
  const job = makeJob(store, signal);
  const find = (key: Key<object>) => {
    void job.start("word pairs", [key], { done() {}, ended: () => view?.refresh() });
    view?.refresh();
  };
  const layer = button("of this layer", () => find(keys.wordPairs(head.layer, head.head)), signal);
  const every = button("of all heads", () => find(keys.wordPairInfo()), signal);
  const offer = h("div", { class: "tl-effect-controls" }, "find word pairs", layer, every, job.el);
  const search = h("input", {
    type: "search",
    class: "tl-search",
    placeholder: "find a word",
    "aria-label": "find a word in all heads",
    autocomplete: "off",
    spellcheck: "false",
  });
  const look = () => {
    clearTimeout(timer);
    if (search.value.trim() === word) return;
    word = search.value.trim();
    view?.refresh();
  };
  search.addEventListener(
    "input",
    () => {
      clearTimeout(timer);
      timer = setTimeout(look, PAUSE);
    },
    { signal },
  );
  search.addEventListener("change", look, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  const chips = FATES.map((fate) =>
    button(
      fate,
      () => {
        if (!fates.delete(fate)) fates.add(fate);
        view?.refresh();
      },
      signal,
      { class: "tl-button tl-chip", "data-fate": fate, "data-side": SIDE[fate], title: SAYS[fate] },
    ),
  );
  const body = h("tbody");
  const table = h(
    "table",
    { class: "tl-pair-table" },
    h(
      "thead",
      {},
      h("tr", {}, ...["word", "partner", "base", "tuned"].map((name) => heading(name))),
    ),
    body,
  );
  const more = button(
    "",
    () => {
      long = true;
      view?.refresh();
    },
    signal,
  );
  const nothing = h("p", { class: "tl-caption" });
  let found: WordHeads = [];
  const foundTitle = h("div", { class: "tl-picture-title" });
  const foundList = windowList(
    "heads that hold the word",
    (row) => store.select({ layer: found[row]![0], head: found[row]![1] }),
    signal,
  );
  const results = h("div", { class: "tl-found" }, foundTitle, foundList.el);
  const content = h(
    "div",
    { class: "tl-pairs" },
    h("div", { class: "tl-effect-controls" }, ...chips, search),
    h("div", { class: "tl-pair-columns" }, h("div", {}, table, nothing, more), results),
  );

  const drawTable = (pairs: Pair[], leftOut: number) => {
    const rows = filtered(pairs, fates, word);
    const shown = long ? rows : rows.slice(0, ROWS);
    body.replaceChildren(...shown.map((pair) => tableRow(pair, word)));
    table.hidden = shown.length === 0;
    nothing.hidden = shown.length > 0 && leftOut === 0;
    nothing.textContent =
      shown.length > 0
        ? `${count(leftOut, "pair")} in fewer neurons not listed.`
        : word
          ? `No such pair with ${quote(word)} in this head.`
          : "No such pair in this head.";
    more.hidden = shown.length === rows.length;
    more.textContent = `show all ${rows.length}`;
    for (const [i, fate] of FATES.entries()) {
      const n = pairs.filter((pair) => pair.fate === fate).length;
      chips[i]!.textContent = `${fate} ${n}`;
      chips[i]!.setAttribute("aria-pressed", String(fates.has(fate)));
    }
  };
  const drawFound = (heads: Load<WordHeads> | null, layer: number, at: number) => {
    results.hidden = heads === null;
    if (!heads) return;
    found = heads.value ?? [];
    foundTitle.textContent =
      heads.reason ??
      (found.length > 0
        ? `${count(found.length, "head")} with ${quote(word)}: pairs base → tuned`
        : `No head holds ${quote(word)} in a pair.`);
    foundList.el.hidden = found.length === 0;
    foundList.draw({
      count: found.length,
      chosen: found.findIndex(([l, n]) => l === layer && n === at),
      mark: (row) => `${found[row]![0]}/${found[row]![1]}`,
      label: (row) => {
        const [layer, head, base, tuned] = found[row]!;
        return `layer ${layer}, head ${head}: ${base} in base, ${tuned} in tuned`;
      },
      cells: (row) => {
        const [layer, head, base, tuned] = found[row]!;
        const side = tuned > base ? "tuned" : tuned < base ? "base" : "both";
        return [
          h("span", { class: "tl-list-name" }, `${layer} · ${head}`),
          h("span", {}, `${base} → ${tuned}`),
          h("b", { "data-side": side, "data-value": tuned - base }, signed(tuned - base)),
        ];
      },
    });
  };

  return {
    name: "pairs",
    label: "Word pairs",
    el: h("div", {}, offer, content),
    async load(now, shown) {
      if (head.layer !== shown.layer || head.head !== shown.head) long = false;
      head = shown;
      const all = computed(store);
      const here = all || store.has(keys.wordPairs(shown.layer, shown.head));
      const [pairs, heads] = await Promise.all([
        here ? loadPairs(now, shown.layer, shown.head) : null,
        all && word ? findWord(now, word) : null,
      ]);
      return {
        caption: captionOf(here, pairs?.reason),
        draw() {
          view = now;
          offer.hidden = all;
          layer.hidden = here;
          layer.disabled = every.disabled = job.running;
          search.disabled = !all;
          content.hidden = !pairs?.value;
          if (!pairs?.value) return;
          drawTable(pairsOf(pairs.value), pairs.value.left_out);
          drawFound(heads, shown.layer, shown.head);
        },
      };
    },
  };
}

function captionOf(here: boolean, reason: string | undefined): string {
  const what =
    "Words that a neuron of the head relates, one on the query side and one on the key side, from the weights alone";
  if (!here) return `${what}. They are not computed yet: for a large pair this takes long.`;
  if (reason) return `Word pairs are not here: ${reason}`;
  return `${what}; the numbers count its neurons with the pair. A pair is no proof that the head uses it.`;
}

function heading(name: string): HTMLElement {
  const side = name === "base" || name === "tuned" ? name : undefined;
  return h("th", { scope: "col", "data-side": side }, name);
}

function tableRow({ word, partner, base, tuned, fate }: Pair, wanted: string): HTMLElement {
  const cell = (text: string) => h("td", {}, text === wanted ? h("b", {}, text) : text);
  return h(
    "tr",
    { "data-fate": fate, "data-side": SIDE[fate], title: `${fate}: ${SAYS[fate]}` },
    cell(word),
    cell(partner),
    h("td", { "data-value": base }, base ? String(base) : "–"),
    h("td", { "data-value": tuned }, tuned ? String(tuned) : "–"),
  );
}
