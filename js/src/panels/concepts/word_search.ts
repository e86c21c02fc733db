// Where a word stands out: layers and components of both models, best first.

import {
  type ComponentPlace,
  keys,
  SIDES,
  type Side,
  type WordPlaces,
} from "../../contract/contract.ts";
import type { Store } from "../../core/store.ts";
import { h } from "../../draw/dom.ts";
import { count, number, quote } from "../../draw/format.ts";
import { bySide } from "../../maths/numbers.ts";
import type { View } from "../../shell/frame.ts";
import type { Concepts } from "./data.ts";
import type { Sheet } from "./sheet.ts";
import { pickUnits } from "./unit_list.ts";

/** Places listed of each model. */
const LONGEST = 20;

/** A place in one model, and the component of base that it belongs to. */
interface Place {
  layer: number;
  own: number;
  component: number;
  cosine: number;
  rank: number;
}

interface Answer {
  word: string;
  places: Record<Side, Place[]>;
  /** Read from the words that the components of this page list, not from all cosines. */
  listed: boolean;
}

export interface WordSearch extends Sheet {
  ask(word: string): void;
}

export function wordSearch(store: Store, refresh: () => void, signal: AbortSignal): WordSearch {
  let word = "";
  const input = h("input", {
    type: "search",
    class: "tl-search",
    "aria-label": "word to find",
    placeholder: "a word, such as python",
    spellcheck: "false",
    autocomplete: "off",
    dir: "auto",
  });
  const form = h(
    "form",
    { class: "tl-word-search", role: "search" },
    input,
    h("button", { class: "tl-button" }, "find"),
  );
  const ask = (wanted: string) => {
    word = wanted.trim();
    input.value = word;
    refresh();
  };
  form.addEventListener(
    "submit",
    (event) => {
      event.preventDefault();
      ask(input.value);
    },
    { signal },
  );
  const list = h("div", { class: "tl-word-found" });
  const show = pickUnits(list, store, signal);
  const el = h("div", {}, form, list);
  return {
    el,
    layered: false,
    ask,
    async load(view, concepts) {
      const answer = word ? await find(view, word) : null;
      return {
        title: answer
          ? `Where ${quote(word)} stands out in both models`
          : "Where a word stands out",
        caption: captionOf(answer),
        draw: () =>
          show(
            concepts.layer,
            concepts.unit,
            ...(answer ? SIDES.map((side) => column(side, answer, concepts)) : []),
          ),
      };
    },
  };
}

async function find(view: View, word: string): Promise<Answer> {
  const key = keys.conceptFind(word);
  const { store } = view;
  const asked = store.live || store.has(key) ? await view.block(key) : null;
  const found = asked ?? (await search(view, word));
  const places = await bySide((side) =>
    Promise.all(found[side].slice(0, LONGEST).map((one) => placeOf(view, side, one))),
  );
  return { word, places, listed: asked === null };
}

async function placeOf(
  view: View,
  side: Side,
  [layer, own, cosine, rank]: ComponentPlace,
): Promise<Place> {
  if (side === "base") return { layer, own, component: own, cosine, rank };
  const components = await view.block(keys.components(layer));
  const component = components.findIndex(({ tuned }) => tuned.index === own);
  return { layer, own, component, cosine, rank };
}

/** Look through the lists of words that are at hand. */
async function search(view: View, word: string): Promise<WordPlaces> {
  const places: WordPlaces = { word, base: [], tuned: [] };
  for (let layer = 0; layer < view.store.manifest.pair.layers; layer++) {
    const components = await view.optional(view.block(keys.components(layer)), true);
    for (const [k, component] of (components ?? []).entries()) {
      for (const side of SIDES) {
        const at = component[side].words.findIndex(([text]) => text === word);
        if (at < 0) continue;
        const own = side === "base" ? k : component.tuned.index;
        places[side].push([layer, own, component[side].words[at]![1], at + 1]);
      }
    }
  }
  for (const side of SIDES) places[side].sort((a, b) => Math.abs(b[2]) - Math.abs(a[2]));
  return places;
}

function captionOf(answer: Answer | null): string {
  if (!answer)
    return "Type a word, or click one in the cloud: components of both models whose direction it lies along.";
  const how = "Largest cosine first; nr is the word’s place among all words along that component.";
  return answer.listed ? `${how} Only the words listed on this page are searched.` : how;
}

function column(side: Side, { word, places, listed }: Answer, concepts: Concepts): HTMLElement {
  const found = places[side];
  const title = h("div", { class: "tl-unit-title" }, h("b", { class: "tl-side" }, side));
  if (found.length) title.append(h("span", {}, count(found.length, "component")));
  const none = listed ? "is among no listed words" : "stands out in no component";
  return h(
    "div",
    { role: "group", "aria-label": `components of ${side}`, "data-side": side },
    title,
    ...(found.length
      ? found.map((place) => placeButton(side, place, concepts))
      : [h("p", { class: "tl-caption" }, `${quote(word)} ${none}.`)]),
  );
}

function placeButton(side: Side, place: Place, concepts: Concepts): HTMLElement {
  const unit = `component:${place.component}`;
  const shown = unit === concepts.unit && place.layer === concepts.layer;
  const name = `layer ${place.layer}, concept ${place.component}`;
  const match = side === "tuned" ? `, tuned’s ${place.own}` : "";
  return h(
    "button",
    {
      type: "button",
      class: "tl-unit",
      "data-unit": unit,
      "data-layer": place.layer,
      "data-found": side,
      "data-shown": shown,
      "aria-pressed": String(shown && concepts.chosen),
      "data-value": place.cosine,
      "aria-label": `${name}${match}, cosine ${number(place.cosine)}, word number ${place.rank}`,
    },
    h("span", { class: "tl-unit-name" }, name),
    h("span", { class: "tl-unit-facts" }, `cos ${number(place.cosine)}  ·  nr ${place.rank}`),
  );
}
