// Where a word stands out: layers and components of both models, best first.

import {
  type ComponentPlace,
  keys,
  SIDES,
  type Side,
  type WordPlaces,
} from "../../contract/contract.ts";
import { type Got, type Need, quiet, required, take } from "../../core/load.ts";
import type { State } from "../../core/state.ts";
import type { Store } from "../../core/store.ts";
import { h, listen } from "../../draw/dom.ts";
import { count, number, quote } from "../../draw/format.ts";
import type { Concepts, Sheet } from "./data.ts";
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

export function wordSearch(store: Store, signal: AbortSignal): Sheet {
  const input = h("input", {
    type: "search",
    class: "tl-search",
    "aria-label": "word to find",
    placeholder: "a word, such as python",
    spellcheck: "false",
    autocomplete: "off",
    dir: "auto",
  });
  let drawn = "";
  const form = h(
    "form",
    { class: "tl-word-search", role: "search" },
    input,
    h("button", { class: "tl-button" }, "find"),
  );
  listen(form, "submit", { signal }, (event) => {
    event.preventDefault();
    input.value = input.value.trim();
    store.setOptions("concepts", { word: input.value });
  });
  const list = h("div", { class: "tl-word-found" });
  const show = pickUnits(list, store, signal);
  return {
    el: h("div", {}, form, list),
    layered: false,
    needs,
    picture(state, got, concepts) {
      const { word } = state.options.concepts;
      const answer = word ? answerOf(state, got) : null;
      return {
        title: answer
          ? `Where ${quote(word)} stands out in both models`
          : "Where a word stands out",
        caption: captionOf(answer),
        draw() {
          if (word !== drawn) input.value = word; // else what is typed stays
          drawn = word;
          const columns = answer ? SIDES.map((side) => column(side, answer, concepts)) : [];
          show(concepts.layer, concepts.unit, ...columns);
        },
      };
    },
  };
}

function needs(state: State, got: Got): Need[] {
  const { word } = state.options.concepts;
  if (!word) return [];
  if (!isAsked(state)) return quiet(...layersOf(state).map((layer) => keys.components(layer)));
  const { tuned = [] } = got(keys.conceptFind(word)).value ?? {};
  const matches = tuned.slice(0, LONGEST).map(([layer]) => keys.components(layer));
  return required(keys.conceptFind(word), ...matches);
}

/** Whether all cosines are looked through, not only the words that are listed. */
function isAsked(state: State): boolean {
  return state.live || state.has(keys.conceptFind(state.options.concepts.word));
}

function layersOf({ manifest }: State): number[] {
  return Array.from({ length: manifest.pair.layers }, (_, layer) => layer);
}

function answerOf(state: State, got: Got): Answer {
  const { word } = state.options.concepts;
  const asked = isAsked(state);
  const all = asked ? take(got(keys.conceptFind(word))) : listedPlaces(state, got);
  const places = (side: Side) =>
    all[side].slice(0, LONGEST).map((place) => placeOf(got, side, place));
  return { word, places: { base: places("base"), tuned: places("tuned") }, listed: !asked };
}

function placeOf(got: Got, side: Side, [layer, own, cosine, rank]: ComponentPlace): Place {
  if (side === "base") return { layer, own, component: own, cosine, rank };
  const components = take(got(keys.components(layer)));
  const component = components.findIndex(({ tuned }) => tuned.index === own);
  return { layer, own, component, cosine, rank };
}

/** Places of the word in the lists of words that are at hand. */
function listedPlaces(state: State, got: Got): WordPlaces {
  const { word } = state.options.concepts;
  const places: WordPlaces = { word, base: [], tuned: [] };
  for (const layer of layersOf(state)) {
    for (const [k, component] of (got(keys.components(layer)).value ?? []).entries()) {
      for (const side of SIDES) {
        const { words } = component[side];
        const index = words.findIndex(([text]) => text === word);
        if (index < 0) continue;
        const own = side === "base" ? k : component.tuned.index;
        places[side].push([layer, own, words[index]![1], index + 1]);
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
  const ofSide = places[side];
  const title = h("div", { class: "tl-unit-title tl-quiet" }, h("b", { class: "tl-side" }, side));
  if (ofSide.length) title.append(h("span", {}, count(ofSide.length, "component")));
  const none = listed ? "is among no listed words" : "stands out in no component";
  return h(
    "div",
    { role: "group", "aria-label": `components of ${side}`, "data-side": side },
    title,
    ...(ofSide.length
      ? ofSide.map((place) => placeButton(side, place, concepts))
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
    h(
      "span",
      { class: "tl-unit-facts tl-aside" },
      `cos ${number(place.cosine)}  ·  nr ${place.rank}`,
    ),
  );
}
