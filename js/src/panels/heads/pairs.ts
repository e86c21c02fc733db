// Word pairs of one head as a table, and a search for the heads that hold a word.

import { type Key, keys, type WordHeads } from "../../contract/contract.ts";
import { type Load, quiet } from "../../core/load.ts";
import type { Fate, HeadsOptions } from "../../core/options.ts";
import { button, fill, h, listen } from "../../draw/dom.ts";
import { count, quote, signed } from "../../draw/format.ts";
import { windowList } from "../../draw/window_list.ts";
import type { PanelSetting } from "../../shell/frame.ts";
import { makeJob } from "../../shell/job.ts";
import type { HeadView } from "./detail.ts";
import {
  FATES,
  filtered,
  headsWith,
  type Pair,
  pairsComputed,
  pairsOf,
  searchNeeds,
} from "./pairs_data.ts";

/** Rows of the table before the reader asks for all. */
const ROWS = 40;
/** Milliseconds after the last letter before a word is looked up. */
const PAUSE = 350;
/** Whose colour a fate has. */
const SIDE = { gained: "tuned", kept: "both", lost: "base" } as const;
const SAYS = { gained: "only tuned holds it", kept: "both hold it", lost: "only base holds it" };

export function headPairs({ store, signal, refresh }: PanelSetting): HeadView {
  let at = { layer: 0, head: 0 };
  let timer: ReturnType<typeof setTimeout> | undefined;
  const job = makeJob(store, signal);
  const find = (key: Key<object>) => {
    void job.start("word pairs", [key], { done() {}, ended: refresh });
    refresh();
  };
  const layer = button("of this layer", () => find(keys.wordPairs(at.layer, at.head)), signal);
  const every = button("of all heads", () => find(keys.wordPairInfo()), signal);
  const offer = h(
    "div",
    { class: "tl-flow tl-effect-controls" },
    "find word pairs",
    layer,
    every,
    job.el,
  );
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
    timer = undefined;
    store.setOptions("heads", { word: search.value.trim() });
  };
  listen(search, "input", { signal }, () => {
    clearTimeout(timer);
    timer = setTimeout(look, PAUSE);
  });
  listen(search, "change", { signal }, look);
  signal.addEventListener("abort", () => clearTimeout(timer));
  const chips = FATES.map((fate) =>
    button(
      fate,
      () => store.setOptions("heads", { fates: switched(store.options.heads.fates, fate) }),
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
    () => store.setOptions("heads", { allPairs: `${at.layer}/${at.head}` }),
    signal,
  );
  const nothing = h("p", { class: "tl-caption" });
  let holding: WordHeads = [];
  const resultTitle = h("div", { class: "tl-picture-title tl-quiet" });
  const resultList = windowList("heads that hold the word", signal, (row) =>
    store.select({ layer: holding[row]![0], head: holding[row]![1] }),
  );
  const results = h("div", { class: "tl-found" }, resultTitle, resultList.el);
  const content = h(
    "div",
    { class: "tl-pairs" },
    h("div", { class: "tl-flow tl-effect-controls" }, ...chips, search),
    h("div", { class: "tl-flow tl-pair-columns" }, h("div", {}, table, nothing, more), results),
  );

  const drawTable = (pairs: Pair[], leftOut: number, { fates, word, allPairs }: HeadsOptions) => {
    const rows = filtered(pairs, fates, word);
    const shown = allPairs === `${at.layer}/${at.head}` ? rows : rows.slice(0, ROWS);
    fill(body, ...shown.map((pair) => tableRow(pair, word)));
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
      chips[i]!.setAttribute("aria-pressed", String(fates.includes(fate)));
    }
  };
  const drawResults = (heads: Load<WordHeads>, word: string) => {
    holding = heads.value ?? [];
    resultTitle.textContent =
      heads.reason ??
      (holding.length > 0
        ? `${count(holding.length, "head")} with ${quote(word)}: pairs base → tuned`
        : `No head holds ${quote(word)} in a pair.`);
    resultList.el.hidden = holding.length === 0;
    resultList.draw({
      count: holding.length,
      chosen: holding.findIndex(([layer, head]) => layer === at.layer && head === at.head),
      mark: (row) => `${holding[row]![0]}/${holding[row]![1]}`,
      label: (row) => {
        const [layer, head, base, tuned] = holding[row]!;
        return `layer ${layer}, head ${head}: ${base} in base, ${tuned} in tuned`;
      },
      cells: (row) => {
        const [layer, head, base, tuned] = holding[row]!;
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
    needs(state, got, { layer, head }) {
      const { word } = state.options.heads;
      const all = pairsComputed(state);
      const pairs = keys.wordPairs(layer, head);
      return [
        ...(all || state.has(pairs) ? quiet(pairs) : []),
        ...(all && word ? searchNeeds(state, got, word) : []),
      ];
    },
    picture(state, got, shown) {
      const options = state.options.heads;
      const all = pairsComputed(state);
      const key = keys.wordPairs(shown.layer, shown.head);
      const known = all || state.has(key);
      const { value: pairs, reason } = got(key);
      const heads = all && options.word ? headsWith(state, got, options.word) : null;
      return {
        caption: captionOf(known, reason),
        draw() {
          at = shown;
          offer.hidden = all;
          layer.hidden = known;
          layer.disabled = every.disabled = job.running;
          search.disabled = !all;
          // What is being typed stays.
          if (timer === undefined && search.value.trim() !== options.word) {
            search.value = options.word;
          }
          content.hidden = !pairs;
          if (!pairs) return;
          drawTable(pairsOf(pairs), pairs.left_out, options);
          results.hidden = heads === null;
          if (heads) drawResults(heads, options.word);
        },
      };
    },
  };
}

/** The fates with one of them added or taken away. */
function switched(fates: readonly Fate[], changed: Fate): Fate[] {
  return FATES.filter((fate) => fates.includes(fate) !== (fate === changed));
}

function captionOf(computed: boolean, reason: string | undefined): string {
  const what =
    "Words that a neuron of the head relates, one on the query side and one on the key side, from the weights alone";
  if (!computed) return `${what}. They are not computed yet: for a large pair this takes long.`;
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
